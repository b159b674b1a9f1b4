//! The functions by name, for programs that ask the driver rather than the loader, and for the documentation.

use crate::boundary::{EntryPoint, Function, Out, OutOrNull, Text};
use crate::error::{Code, Result};
use crate::{
    capture, context, device, driver, error, event, function, graph, launch, library, link, memory, module,
    occupancy, pitched, pointer, pool, sharing, stream, tensor_map, unsupported, user_object, virtual_memory,
};

/// `CU_GET_PROC_ADDRESS_LEGACY_STREAM` and `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`.
const LEGACY_STREAM: u64 = 1;
const PER_THREAD_STREAM: u64 = 2;

/// The functions of the driver, by file.
pub const SECTIONS: &[(&str, &[Function])] = &[
    ("Initialisation and version", driver::FUNCTIONS),
    ("Errors", error::FUNCTIONS),
    ("Functions by name", FUNCTIONS),
    ("Devices", device::FUNCTIONS),
    ("Contexts and peers", context::FUNCTIONS),
    ("Modules", module::FUNCTIONS),
    ("Libraries", library::FUNCTIONS),
    ("Linker", link::FUNCTIONS),
    ("Functions", function::FUNCTIONS),
    ("Occupancy", occupancy::FUNCTIONS),
    ("Launches", launch::FUNCTIONS),
    ("Tensor maps", tensor_map::FUNCTIONS),
    ("Memory and copies", memory::FUNCTIONS),
    ("Memory in rows", pitched::FUNCTIONS),
    ("Memory pools", pool::FUNCTIONS),
    ("Memory mapped by hand", virtual_memory::FUNCTIONS),
    ("Handles for other processes", sharing::FUNCTIONS),
    ("Attributes of pointers", pointer::FUNCTIONS),
    ("Streams", stream::FUNCTIONS),
    ("Events", event::FUNCTIONS),
    ("Capture", capture::FUNCTIONS),
    ("Graphs", graph::FUNCTIONS),
    ("Objects of graphs", user_object::FUNCTIONS),
    ("Refused", unsupported::FUNCTIONS),
];

/// What a search by name came to: `CUdriverProcAddressQueryResult`.
#[derive(Clone, Copy)]
enum Search {
    Found(EntryPoint),
    Unknown,
    /// All that have the name came with later versions than the one asked for.
    Newer,
}

/// A name without the version that it ends in, and that version.
fn split_version(name: &str) -> (&str, u32) {
    name.rsplit_once("_v")
        .and_then(|(base, version)| Some((base, version.parse().ok()?)))
        .unwrap_or((name, 1))
}

/// The latest function of a name without version that there was in a version of CUDA.
fn find(name: &str, cuda: u32, stream_of_thread: bool) -> Search {
    let named =
        || SECTIONS.iter().flat_map(|(_, list)| *list).filter(|known| split_version(known.name).0 == name);
    let Some(found) =
        named().filter(|known| known.since <= cuda).max_by_key(|known| split_version(known.name).1)
    else {
        return if named().next().is_some() { Search::Newer } else { Search::Unknown };
    };
    Search::Found(match found.per_thread {
        Some((_, address)) if stream_of_thread => address,
        _ => found.address,
    })
}

impl Search {
    /// From what a program asks.
    fn ask(name: Text, cuda: i32, flags: u64) -> Result<Self> {
        if flags > PER_THREAD_STREAM {
            return Err(Code::InvalidValue.into());
        }
        let cuda = u32::try_from(cuda).map_err(|_| Code::InvalidValue)?;
        Ok(find(name.text()?, cuda, flags & !LEGACY_STREAM == PER_THREAD_STREAM))
    }

    fn address(self) -> Option<EntryPoint> {
        match self {
            Self::Found(address) => Some(address),
            Self::Unknown | Self::Newer => None,
        }
    }
}

driver_functions! {
    fn cuGetProcAddress[11030](symbol: Text, function: Out<EntryPoint>, version: i32, flags: u64) {
        function.set(EntryPoint(std::ptr::null()));
        function.set(Search::ask(symbol, version, flags)?.address().ok_or(Code::NotFound)?);
        Ok(())
    }

    fn cuGetProcAddress_v2[12000](
        symbol: Text, function: Out<EntryPoint>, version: i32, flags: u64, status: OutOrNull<u32>,
    ) {
        function.set(EntryPoint(std::ptr::null()));
        let search = Search::ask(symbol, version, flags)?;
        status.set(match search {
            Search::Found(_) => 0,
            Search::Unknown => 1,
            Search::Newer => 2,
        });
        function.set(search.address().ok_or(Code::NotFound)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str, cuda: u32) -> Option<*const std::ffi::c_void> {
        find(name, cuda, false).address().map(|address| address.0)
    }

    fn exported(name: &str) -> Option<*const std::ffi::c_void> {
        let mut all = SECTIONS.iter().flat_map(|(_, list)| *list);
        all.find(|known| known.name == name).map(|known| known.address.0)
    }

    #[test]
    fn names_without_a_version_are_the_latest_of_the_version_asked_for() {
        assert_eq!(address("cuMemAlloc", 13_000), exported("cuMemAlloc_v2"));
        assert_eq!(address("cuMemAlloc", 3_020), exported("cuMemAlloc_v2"));
        assert_eq!(address("cuMemAlloc", 3_010), exported("cuMemAlloc"));
        assert_eq!(address("cuGetProcAddress", 11_080), exported("cuGetProcAddress"));
        assert_eq!(address("cuGetProcAddress", 12_000), exported("cuGetProcAddress_v2"));
        assert_eq!(address("cuCtxCreate", 12_050), exported("cuCtxCreate_v4"));
        assert!(address("cuMem", 13_000).is_none() && address("", 13_000).is_none());
        assert!(matches!(find("cuLibraryLoadData", 11_080, false), Search::Newer));
        assert!(matches!(find("cuFly", 13_000, false), Search::Unknown));
    }

    #[test]
    fn per_thread_streams_have_functions_of_their_own() {
        let of_thread = |name| find(name, 13_000, true).address().map(|address| address.0);
        assert_ne!(of_thread("cuMemsetD8Async"), address("cuMemsetD8Async", 13_000));
        assert_eq!(of_thread("cuMemAlloc"), address("cuMemAlloc", 13_000));
    }

    /// The page of the documentation, from the table.
    fn page() -> String {
        let all = || SECTIONS.iter().flat_map(|(_, list)| *list);
        let refused = all().filter(|function| function.is_refused).count();
        let mut page = format!(
            "# Functions of the driver library\n\n\
             What `libptxsim_driver` makes of the {} functions of the CUDA driver API up to CUDA {}.{}: {} are implemented, \
             {refused} are refused with\n`CUDA_ERROR_NOT_SUPPORTED` and a line on stderr, the first time. Exports, \
             `cuGetProcAddress` and this page come from one table;\n`BLESS=1 cargo test -p rorqual-sim-driver --lib` \
             writes the page.\n\n\
             *Since* is the version of CUDA that brought the function. Where a program was compiled for per-thread default \
             streams, the\nfunction has a second name that ends as the last column says. A note is what differs from the \
             reference of the API under that name.\n",
            all().count(),
            driver::VERSION / 1000,
            driver::VERSION % 1000 / 10,
            all().count() - refused,
        );
        for (title, functions) in SECTIONS {
            if functions.iter().all(|function| function.is_refused) {
                page += &refusals(title, functions);
                continue;
            }
            page += &format!("\n## {title}\n\n| function | since | note | per thread |\n|---|--:|---|---|\n");
            for Function { name, since, notes, per_thread, .. } in *functions {
                let suffix = per_thread.map_or(String::new(), |(suffix, _)| format!("`{suffix}`"));
                let notes: Vec<&str> = notes.iter().map(|note| note.trim()).collect();
                page += &format!("| `{name}` | {} | {} | {suffix} |\n", version(*since), notes.join(" "));
            }
        }
        page
    }

    /// The refused functions, by what is lacking.
    fn refusals(title: &str, functions: &[Function]) -> String {
        let mut page = format!("\n## {title}\n\n| lacking | functions |\n|---|---|\n");
        let mut rest = functions;
        while let Some(first) = rest.first() {
            let (group, others) =
                rest.split_at(rest.iter().take_while(|one| one.notes == first.notes).count());
            let names: Vec<String> = group.iter().map(|function| format!("`{}`", function.name)).collect();
            page += &format!("| {} | {} |\n", first.notes.join(" ").trim(), names.join(", "));
            rest = others;
        }
        page
    }

    fn version(since: u32) -> String {
        format!("{}.{}", since / 1000, since % 1000 / 10)
    }

    #[test]
    fn the_page_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/driver.md");
        let page = page();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &page).expect("the page can be written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(page, committed, "docs/driver.md is old: run again with BLESS=1");
    }

    #[test]
    fn a_name_is_there_once() {
        let mut names: Vec<_> = SECTIONS.iter().flat_map(|(_, list)| *list).map(|known| known.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
