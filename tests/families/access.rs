//! How kernels reach memory, counted: what their headers promise of banks and of the width of accesses.

use rorqual::catalog::AnySpec;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::transpose::QuantizeTransposeArguments;
use rorqual_sim::{Device, Launch, Options};

#[test]
fn a_transpose_has_no_bank_conflicts_and_touches_every_sector_once() {
    const TOKENS: u32 = 256;
    const COLUMNS: u32 = 192;
    let fields = format!(
        r#"{{"columns":{COLUMNS},"x_pitch":{COLUMNS},"input":"bf16","scale":"f32","scale_layout":"row_major"}}"#
    );
    let spec = AnySpec::from_json(Some("quantize_transpose"), &fields).expect("all fields");
    let target = "sm_80".parse().expect("a target");
    let kernel = spec.generate(target).expect("a kernel");
    let mut device = Device::new(target).expect("a device");
    *device.options_mut() = Options { count_accesses: true, ..Options::default() };
    let allocate = |bytes: u32| device.allocate_from("buffer", &vec![0; bytes as usize]).expect("room").0;
    let [x, codes, scales] =
        [2 * TOKENS * COLUMNS, TOKENS * COLUMNS, 4 * TOKENS / 128 * COLUMNS].map(allocate);
    let arguments = QuantizeTransposeArguments {
        x,
        x_f32: 0,
        codes,
        scales,
        tokens: TOKENS,
        offsets: 0,
        block_offsets: 0,
        error: 0,
        padded_tokens: TOKENS,
    };
    let text = kernel.text();
    let module = device.load(&text).expect("a module");
    let grid = kernel.contract.grid(&arguments.pack(), 1).expect("a grid");
    let launch =
        Launch::new(&module, &kernel.contract.kernel).ctas(grid).threads([kernel.contract.threads, 1, 1]);
    let launch = launch.dynamic_shared_bytes(kernel.contract.shared_bytes);
    let launch = launch.argument(x).argument(0_u64).argument(codes).argument(scales).argument(TOKENS);
    let launch = launch.argument(0_u64).argument(0_u64).argument(0_u64).argument(TOKENS);
    let outcome = device.launch(&launch).expect("a launch");
    assert!(outcome.reports.is_empty(), "{:?}", outcome.reports);

    let accesses = &outcome.counters.accesses;
    let of = |words: &str| {
        let lines = text
            .lines()
            .zip(accesses.iter().skip(1))
            .filter(|(line, entry)| line.contains(words) && entry.requests > 0);
        lines.map(|(_, entry)| entry).collect::<Vec<_>>()
    };
    let (words, chunks) = (of("st.shared.b32"), of("ld.shared.v4.b32"));
    assert!(!words.is_empty() && !chunks.is_empty());
    for entry in of(".shared") {
        assert_eq!(entry.conflicts, 0, "{entry:?}");
    }
    for entry in of("ld.global.v4.b32").into_iter().chain(of("st.global.v4.b32")) {
        assert_eq!(u64::from(32_u32) * entry.sectors, entry.bytes, "{entry:?}");
    }
}
