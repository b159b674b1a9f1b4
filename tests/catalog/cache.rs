//! Kernels that are generated at run time: once for all threads, and once for all processes that share a directory.

#![cfg(feature = "jit")]

use super::uncommon;
use rorqual::catalog::{Artifact, Catalog};
use rorqual_ptx::target::Target;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, thread};

fn target() -> Target {
    "sm_80".parse().expect("a target")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn fresh(hidden: u32) -> Artifact {
    Artifact::from(&uncommon(hidden).generate(target()).unwrap())
}

#[test]
fn many_threads_get_one_kernel() {
    let catalog = Catalog::new();
    let ask = || catalog.kernel(&uncommon(200), target()).unwrap();
    let kernels: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(kernels.iter().all(|kernel| Arc::ptr_eq(kernel, &kernels[0])));
    assert_eq!(*kernels[0], fresh(200));
}

/// As many catalogs as there could be processes, all at once, on a directory that is not there yet.
#[test]
fn many_catalogs_share_a_directory() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new/kernels");
    let sizes = [264, 272, 280];
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let catalog = Catalog::new().with_directory(&directory);
                for hidden in sizes {
                    assert_eq!(*catalog.kernel(&uncommon(hidden), target()).unwrap(), fresh(hidden));
                }
            });
        }
    });
    let entries = entries(&directory);
    assert_eq!(entries.len(), sizes.len(), "{entries:?}");
}

#[test]
fn an_entry_is_used_and_a_damaged_one_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let ask = || {
        (*Catalog::new().with_directory(directory.path()).kernel(&uncommon(312), target()).unwrap()).clone()
    };
    assert_eq!(ask(), fresh(312));
    let [entry] = entries(directory.path()).try_into().expect("one entry");
    let whole = fs::read(&entry).unwrap();

    // An entry that is read is not written again.
    let before = fs::metadata(&entry).unwrap().modified().unwrap();
    assert_eq!(ask(), fresh(312));
    assert_eq!(fs::metadata(&entry).unwrap().modified().unwrap(), before);

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let cases: [&[u8]; 5] = [b"", b"\n", &whole[..whole.len() / 2], &flipped, &[0xff; 300]];
    for damaged in cases {
        fs::write(&entry, damaged).unwrap();
        assert_eq!(ask(), fresh(312));
        assert_eq!(fs::read(&entry).unwrap(), whole);
    }

    // The whole entry of another kernel is no entry of this one.
    let other = Catalog::new().with_directory(directory.path());
    other.kernel(&uncommon(320), target()).unwrap();
    let of_other = entries(directory.path()).into_iter().find(|path| *path != entry).unwrap();
    fs::copy(of_other, &entry).unwrap();
    assert_eq!(ask(), fresh(312));
    assert_eq!(fs::read(&entry).unwrap(), whole);
}

#[test]
fn a_directory_that_cannot_be_written_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "no directory").unwrap();
    let kernel = Catalog::new().with_directory(&file).kernel(&uncommon(328), target());
    assert_eq!(*kernel.unwrap(), fresh(328));
}
