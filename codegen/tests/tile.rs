//! Tiles on the simulator: what threads copy is where the host says it is.

use rorqual_codegen::contract::{In, Out, SwizzleMode};
use rorqual_codegen::element::E4m3;
use rorqual_codegen::tile::Tile;
use rorqual_codegen::{Header, generate};
use rorqual_sim::{Device, DevicePointer, Launch};

rorqual_codegen::arguments! {
    struct CopyArguments, CopyParameters {
        /// `[rows, columns]`, rows `pitch` apart.
        source: In<E4m3>,
        /// The bytes of the tile.
        out: Out<u32>,
        pitch: u32,
        rows: u32,
    }
}

#[test]
fn a_copied_tile_is_the_arranged_one() {
    for (mode, rows, present, threads) in [
        (SwizzleMode::B128, 24, 24, 64),
        (SwizzleMode::B64, 40, 33, 96),
        (SwizzleMode::B32, 8, 0, 32),
        (SwizzleMode::None, 5, 4, 32),
    ] {
        let tile = Tile::swizzled::<E4m3>(rows, mode);
        let target = "sm_80".parse().expect("a target");
        let header = Header::new("copy_tile", tile, target, threads);
        let kernel = generate::<CopyArguments>(header, |builder, arguments| {
            let shared = builder.shared::<E4m3>(tile.bytes(), tile.alignment_bytes());
            tile.copy_async(shared, arguments.source, arguments.pitch, arguments.rows);
            builder.commit_copies();
            builder.wait_copies(0);
            builder.sync_threads();
            builder.for_each(builder.thread(), tile.bytes() / 4, threads, |word| {
                arguments.out.at(word).store(shared.cast::<u32>().at(word).load());
            });
        })
        .unwrap_or_else(|error| panic!("{error}"));

        let pitch = tile.columns + 16;
        let source: Vec<u8> = (0..rows * pitch).map(|byte| (byte % 251) as u8).collect();
        let mut device = Device::new(target).expect("a device");
        let module = device.load(&kernel.text()).expect("a module");
        let from = device.allocate_from("source", &source).expect("memory");
        let out = device.allocate("out", tile.bytes().into()).expect("memory");
        let launch = Launch::new(&module, "copy_tile").threads([threads, 1, 1]);
        let launch = launch.dynamic_shared_bytes(kernel.contract.shared_bytes);
        let launch = launch.argument(from).argument(out).argument(pitch).argument(present);
        let outcome = device.launch(&launch).expect("a launch");
        assert!(outcome.reports.is_empty(), "{mode:?}: {}", outcome.reports[0]);

        let rows_of = source.chunks(pitch as usize).enumerate();
        let dense: Vec<u8> = rows_of
            .flat_map(|(row, bytes)| {
                let copied = (row as u32) < present;
                bytes[..tile.columns as usize].iter().map(move |byte| if copied { *byte } else { 0 })
            })
            .collect();
        let got = device.read(DevicePointer(out.0), tile.bytes() as usize).expect("memory");
        assert_eq!(got, tile.arrange(&dense), "{mode:?}");
    }
}
