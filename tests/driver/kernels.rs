//! Launches through contracts.

use crate::programs::{self, contract, kernel, parameter, pointer, saxpy, saxpy_arguments};
use crate::{devices, hopper_devices, simulated, target};
use rorqual::driver::contract::{Access, Argument, ParameterKind, SwizzleMode, TensorMap};
use rorqual::driver::{Device, ElementType, SimulatorOptions};
use rorqual::verify::on_device::OnDevice;
use rorqual::verify::simulated::Simulated;
use rorqual::verify::{Machine, MachineError};

#[test]
fn tails_are_computed_and_nothing_more() {
    for device in devices() {
        let kernel = saxpy(&device);
        let stream = device.stream().expect("a stream");
        for count in [1, 127, 128, 129, 1000] {
            let x: Vec<f32> = (0..count).map(|at| at as f32).collect();
            let x = stream.upload(count, &x).expect("room");
            let mut y = stream.upload(count + 5, &vec![1.0f32; count + 5]).expect("room");
            let arguments = saxpy_arguments(x.address(), y.address(), count, 2.0);
            kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect("a right launch");
            let expected = (0..count + 5).map(|at| if at < count { 2.0 * at as f32 + 1.0 } else { 1.0 });
            assert_eq!(
                stream.download(&y).expect("results"),
                expected.collect::<Vec<_>>(),
                "{count} on {device}"
            );
        }
    }
}

#[test]
fn an_empty_grid_is_no_launch() {
    for device in devices() {
        let kernel = saxpy(&device);
        let stream = device.stream().expect("a stream");
        let x = stream.allocate::<f32>(0).expect("no bytes");
        let mut y = stream.allocate::<f32>(0).expect("no bytes");
        let arguments = saxpy_arguments(x.address(), y.address(), 0, 2.0);
        kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect("nothing to do");
        stream.synchronize().expect("nothing to wait for");
    }
}

#[test]
fn parts_of_buffers_are_arguments() {
    for device in devices() {
        let kernel = saxpy(&device);
        let stream = device.stream().expect("a stream");
        let mut both = stream.upload(6, &[1.0f32, 2.0, 3.0, 10.0, 20.0, 30.0]).expect("room");
        let (x, y) = both.view_mut().split(3).expect("two halves");
        let arguments = saxpy_arguments(x.address(), y.address(), 3, 1.0);
        kernel.launch(&stream, &arguments, &[x.as_view().reads(), y.writes()]).expect("a right launch");
        assert_eq!(stream.download(&both).expect("results"), [1.0, 2.0, 3.0, 11.0, 22.0, 33.0]);
    }
}

#[test]
fn dynamic_shared_memory_is_opted_in_to() {
    for device in devices() {
        let words = 90 << 8;
        let parameters =
            vec![pointer("out", ElementType::U32, Access::Out), parameter("words", ParameterKind::U32)];
        let mut contract = contract("reverse", parameters, 1.into(), 256);
        contract.shared_bytes = words * 4;
        let kernel = kernel(&device, programs::REVERSE, &contract);
        let stream = device.stream().expect("a stream");
        let mut out = stream.allocate::<u32>(256).expect("room");
        let arguments = [Argument::Address(out.address()), Argument::U32(words)];
        kernel.launch(&stream, &arguments, &[out.writes()]).expect("a right launch");
        assert_eq!(stream.download(&out).expect("results"), (0..256).collect::<Vec<u32>>(), "{device}");
    }
}

#[test]
fn clusters_have_ranks() {
    for device in hopper_devices() {
        let mut contract =
            contract("ranks", vec![pointer("out", ElementType::U32, Access::Out)], 12.into(), 32);
        contract.cluster = Some([4, 1, 1]);
        let kernel = kernel(&device, programs::RANKS, &contract).programmatic(true);
        let stream = device.stream().expect("a stream");
        let mut out = stream.allocate::<u32>(12).expect("room");
        let arguments = [Argument::Address(out.address())];
        kernel.launch(&stream, &arguments, &[out.writes()]).expect("a right launch");
        let expected: Vec<u32> = (0..12).map(|cta| cta % 4).collect();
        assert_eq!(stream.download(&out).expect("results"), expected, "{device}");
    }
}

/// Rows of 16 f32, the last of which the box leaves at the right.
pub fn tile_map(address: u64) -> TensorMap {
    TensorMap {
        address,
        element: ElementType::F32,
        extents: vec![10, 6],
        strides_bytes: vec![64],
        box_extents: vec![8, 4],
        swizzle: SwizzleMode::None,
    }
}

#[test]
fn tensor_maps_move_boxes() {
    for device in hopper_devices() {
        let parameters =
            vec![parameter("map", ParameterKind::TensorMap), pointer("out", ElementType::F32, Access::Out)];
        let mut contract = contract("tile", parameters, 1.into(), 1);
        contract.target = target("sm_90a");
        let kernel = kernel(&device, programs::TILE, &contract);
        let stream = device.stream().expect("a stream");
        let values: Vec<f32> = (0..6 * 16).map(|at| at as f32).collect();
        let tensor = stream.upload([6, 16], &values).expect("room");
        let mut out = stream.allocate::<f32>([4, 8]).expect("room");
        let map = Box::new(tile_map(tensor.address()));
        let arguments = [Argument::TensorMap(map), Argument::Address(out.address())];
        kernel.launch(&stream, &arguments, &[tensor.reads(), out.writes()]).expect("a right launch");
        // The box starts at column 4 of row 1; columns from 10 on are outside of the tensor.
        let at = |row: usize, column: usize| if column < 10 { values[row * 16 + column] } else { 0.0 };
        let expected: Vec<f32> = (1..5).flat_map(|row| (4..12).map(move |column| at(row, column))).collect();
        assert_eq!(stream.download(&out).expect("results"), expected, "{device}");
    }
}

#[test]
fn machines_of_cases_take_tensor_maps() {
    let parameters =
        vec![parameter("map", ParameterKind::TensorMap), pointer("out", ElementType::F32, Access::Out)];
    let mut contract = contract("tile", parameters, 1.into(), 1);
    contract.target = target("sm_90a");
    let module = rorqual_ptx::verify::verify(rorqual_ptx::parse(programs::TILE).expect("PTX"));
    let kernel = rorqual_kernels::Kernel { contract, module: module.expect("a right module") };
    let simulator = Simulated::new(target("sm_90a"), SimulatorOptions::default()).expect("a machine");
    let mut machines: Vec<Box<dyn Machine>> = vec![Box::new(simulator)];
    for device in hopper_devices() {
        machines.push(Box::new(OnDevice::new(&device).expect("a machine")));
    }
    for machine in &mut machines {
        let values: Vec<u8> = (0..6 * 16).flat_map(|at| (at as f32).to_le_bytes()).collect();
        let (tensor, out) =
            (machine.upload(&values).expect("room"), machine.upload(&[0xa5; 128]).expect("room"));
        let mut map = tile_map(tensor);
        let arguments =
            |map: &TensorMap| [Argument::TensorMap(Box::new(map.clone())), Argument::Address(out)];
        machine.run(&kernel, &arguments(&map)).expect("a right launch");
        let first_row = machine.download(out, 32).expect("results");
        // Row 1 from column 4 on, and zeros from column 10 on.
        assert_eq!(first_row[..24], values[80..104]);
        assert_eq!(first_row[24..], [0; 8]);
        map.strides_bytes[0] = 72;
        let error = machine.run(&kernel, &arguments(&map)).expect_err("a stride that no map has");
        assert!(matches!(&error, MachineError::Wrong(words) if words.contains("72")), "{error:?}");
    }
}

#[test]
fn a_pool_of_threads_may_share_a_device() {
    let options = SimulatorOptions { threads: 2, ..SimulatorOptions::default() };
    let device = Device::simulated_with(target("sm_80"), options).expect("a device");
    let kernel = saxpy(&device);
    // Each thread that waits for its launch would take up another one, were the launch on its pool.
    rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads").scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|_| {
                let stream = device.stream().expect("a stream");
                let x = stream.upload(5000, &[1.0f32; 5000]).expect("room");
                let mut y = stream.upload(5000, &[1.0f32; 5000]).expect("room");
                let arguments = saxpy_arguments(x.address(), y.address(), 5000, 2.0);
                kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect("a right launch");
                assert_eq!(stream.download(&y).expect("results"), [3.0; 5000]);
            });
        }
    });
}

#[test]
fn several_kernels_of_a_module() {
    let device = simulated("sm_90a");
    let text = programs::SAXPY.to_owned() + programs::SAXPY.split("64\n").nth(1).expect("a body");
    let text = text.replacen("entry saxpy", "entry first", 1);
    let module = rorqual::driver::Module::load(&device, &text).expect("two kernels");
    assert_eq!(module.kernels().collect::<Vec<_>>(), ["first", "saxpy"]);
}
