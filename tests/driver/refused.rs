//! Every way to be wrong, with its error.

use crate::kernels::tile_map;
use crate::programs::{self, contract, kernel, parameter, pointer, saxpy, saxpy_arguments, saxpy_contract};
use crate::{devices, hopper_devices, simulated, target};
use rorqual::catalog::{Artifact, Cubin};
use rorqual::driver::contract::{Access, Argument, ContractError, Extent, ParameterKind, TensorMap};
use rorqual::driver::{ArgumentError, ElementType, Error, Module};

#[test]
fn text_that_is_not_ptx_names_the_line() {
    for device in devices() {
        let text = programs::SAXPY.replace("mad.lo.s32", "mad.lw.s32");
        let error = Module::load(&device, &text).expect_err("no such modifier");
        assert!(matches!(error, Error::Parse(_)), "{error}");
        assert_eq!(error.line(), Some(14), "{error}");
        let text = programs::SAXPY.replace("add.s64 %rd4, %rd1, %rd3", "add.s64 %rd4, %rd1, %r3");
        let error = Module::load(&device, &text).expect_err("a register of 32 bits");
        assert!(matches!(error, Error::Verify(_)), "{error}");
        assert_eq!(error.line(), Some(18), "{error}");
    }
}

#[test]
fn modules_for_other_devices_are_refused() {
    let device = simulated("sm_80");
    let error = Module::load(&device, programs::RANKS).expect_err("for sm_90a");
    let expected =
        Error::ModuleTarget { module: target("sm_90a"), device: device.to_string(), target: target("sm_80") };
    assert_eq!(error, expected);
}

#[test]
fn machine_code_that_a_device_cannot_take_gives_way_to_the_text() {
    // The header of an ELF file for sm_80 and nothing else, which is whole, but no kernel.
    let mut header = [0; 64];
    header[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\x41\x08\0\0\0\0\0\0\0\x02\0\xbe\0");
    header[49] = 80;
    let cubin = Cubin::new(header).expect("a whole file");
    for device in devices() {
        let contract = saxpy_contract();
        let artifact = Artifact {
            contract: contract.clone(),
            ptx: programs::SAXPY.to_owned(),
            cubin: Some(cubin.clone()),
        };
        let module = Module::load_artifact(&device, &artifact).expect("the text is right");
        assert!(!module.is_machine_code());
        let kernel = module.kernel(&contract).expect("the kernel");
        let stream = device.stream().expect("a stream");
        let x = stream.upload(3, &[1.0f32, 2.0, 3.0]).expect("room");
        let mut y = stream.upload(3, &[1.0f32; 3]).expect("room");
        let arguments = saxpy_arguments(x.address(), y.address(), 3, 2.0);
        kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect("a right launch");
        assert_eq!(stream.download(&y).expect("results"), [3.0, 5.0, 7.0], "{device}");
    }
}

#[test]
fn contracts_that_do_not_describe_the_kernel_are_refused() {
    for device in devices() {
        let module = Module::load(&device, programs::SAXPY).expect("a right module");
        let refused = |change: &dyn Fn(&mut rorqual::driver::contract::Contract), words: &str| {
            let mut contract = saxpy_contract();
            change(&mut contract);
            let error = module.kernel(&contract).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        };
        refused(&|contract| contract.kernel = "daxpy".to_owned(), "no kernel `daxpy`; it has saxpy");
        refused(&|contract| drop(contract.parameters.pop()), "the kernel has 4 parameters, got 3");
        refused(
            &|contract| contract.parameters[2] = parameter("count", ParameterKind::U64),
            "parameter `count` of the kernel has 4 bytes, got U64 of 8",
        );
        refused(&|contract| contract.threads = 1025, "a CTA has 1 to 1024 threads, got 1025");
        refused(&|contract| contract.shared_bytes = 1 << 20, "bytes of shared memory, got 1048576");
        refused(&|contract| contract.cluster = Some([17, 1, 1]), "a cluster on");
    }
}

#[test]
fn arguments_that_do_not_suit_the_contract_are_refused() {
    for device in devices() {
        let kernel = saxpy(&device);
        let stream = device.stream().expect("a stream");
        let x = stream.upload(4, &[1.0f32; 4]).expect("room");
        let mut y = stream.upload(4, &[1.0f32; 4]).expect("room");
        let mut arguments = saxpy_arguments(x.address(), y.address(), 4, 1.0);
        let error =
            kernel.launch(&stream, &arguments[..3], &[x.reads(), y.writes()]).expect_err("one is missing");
        assert!(
            matches!(error, Error::Contract(ContractError::Count { expected: 4, given: 3, .. })),
            "{error}"
        );
        arguments[2] = Argument::F32(4.0);
        let error = kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect_err("another kind");
        assert!(matches!(error, Error::Contract(ContractError::Kind { .. })), "{error}");
    }
}

#[test]
fn a_grid_that_is_too_large_is_refused() {
    for device in devices() {
        let mut contract = saxpy_contract();
        contract.grid = [1.into(), Extent::argument("count"), 1.into()];
        let kernel = kernel(&device, programs::SAXPY, &contract);
        let stream = device.stream().expect("a stream");
        let error =
            kernel.launch(&stream, &saxpy_arguments(0, 0, 65536, 1.0), &[]).expect_err("too many CTAs");
        assert!(
            matches!(error, Error::Contract(ContractError::Grid { value: 65536, most: 65535, .. })),
            "{error}"
        );
    }
}

fn argument_error(error: Error) -> (String, ArgumentError) {
    match error {
        Error::Argument { parameter, source, .. } => (parameter, source),
        other => panic!("{other}"),
    }
}

#[test]
fn buffers_that_do_not_suit_the_parameters_are_refused() {
    for device in devices() {
        let kernel = saxpy(&device);
        let stream = device.stream().expect("a stream");
        let x = stream.upload(4, &[1.0f32; 4]).expect("room");
        let mut y = stream.upload(4, &[1.0f32; 4]).expect("room");
        let words = stream.upload(4, &[1u32; 4]).expect("room");

        let arguments = saxpy_arguments(words.address(), y.address(), 4, 1.0);
        let error = kernel
            .launch(&stream, &arguments, &[words.reads(), y.writes()])
            .expect_err("words are no floats");
        let (expected, given) = (ElementType::F32, ElementType::U32);
        assert_eq!(argument_error(error), ("x".to_owned(), ArgumentError::ElementType { expected, given }));

        let arguments = saxpy_arguments(x.address(), y.address(), 4, 1.0);
        let error = kernel.launch(&stream, &arguments, &[x.reads(), y.reads()]).expect_err("it writes y");
        assert_eq!(argument_error(error), ("y".to_owned(), ArgumentError::ReadOnly));

        let error = kernel.launch(&stream, &arguments, &[y.writes()]).expect_err("x was not given");
        let address = x.address();
        assert_eq!(argument_error(error), ("x".to_owned(), ArgumentError::UnknownAddress { address }));

        let address = x.address() + 2;
        let arguments = saxpy_arguments(address, y.address(), 1, 1.0);
        let error =
            kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect_err("between elements");
        assert_eq!(argument_error(error), ("x".to_owned(), ArgumentError::Alignment { address, bytes: 4 }));
        assert_eq!(stream.download(&y).expect("untouched"), [1.0; 4]);
    }
}

#[test]
fn things_of_other_devices_are_refused() {
    let foreign = simulated("sm_80");
    let foreign_stream = foreign.stream().expect("a stream");
    let foreign_x = foreign_stream.upload(4, &[1.0f32; 4]).expect("room");
    let foreign_event = foreign_stream.record().expect("an event");
    for device in devices() {
        let kernel = saxpy(&device);
        let stream = device.stream().expect("a stream");
        let mut y = stream.upload(4, &[1.0f32; 4]).expect("room");
        let arguments = saxpy_arguments(foreign_x.address(), y.address(), 4, 1.0);
        let own_graph = stream.capture(|_| Ok(())).expect("a graph");
        let mut graph = own_graph;
        let errors = [
            kernel
                .launch(&stream, &arguments, &[foreign_x.reads(), y.writes()])
                .expect_err("a foreign buffer"),
            kernel.launch(&foreign_stream, &arguments, &[]).expect_err("a foreign stream"),
            stream.copy(&foreign_x, &mut y).expect_err("a foreign source"),
            stream.download(&foreign_x).expect_err("a foreign buffer"),
            foreign_stream.zero(&mut y).expect_err("a foreign buffer"),
            stream.wait(&foreign_event).expect_err("a foreign event"),
            graph.launch(&foreign_stream).expect_err("a foreign stream"),
            stream
                .write_pinned(&mut y, foreign.pinned(4).expect("host memory"))
                .expect_err("foreign host memory"),
        ];
        for error in errors {
            assert!(matches!(error, Error::OtherDevice { .. }), "{error}");
            assert!(error.to_string().contains(&foreign.to_string()), "{error}");
        }
    }
}

#[test]
fn tensor_maps_that_are_wrong_are_refused() {
    for device in hopper_devices() {
        let parameters =
            vec![parameter("map", ParameterKind::TensorMap), pointer("out", ElementType::F32, Access::Out)];
        let kernel = kernel(&device, programs::TILE, &contract("tile", parameters, 1.into(), 1));
        let stream = device.stream().expect("a stream");
        let tensor = stream.upload([6, 16], &[1.0f32; 96]).expect("room");
        let mut out = stream.allocate::<f32>([4, 8]).expect("room");
        let mut refused = |change: &dyn Fn(&mut TensorMap), words: &str| {
            let mut map = tile_map(tensor.address());
            change(&mut map);
            let arguments = [Argument::TensorMap(Box::new(map)), Argument::Address(out.address())];
            let error = kernel.launch(&stream, &arguments, &[tensor.reads(), out.writes()]).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
            assert!(matches!(error, Error::Argument { .. }), "{error}");
        };
        refused(&|map| map.strides_bytes[0] = 60, "a stride is a multiple of 16");
        refused(&|map| map.extents[1] = 7, "the tensor is within its buffer, 384 bytes");
        refused(&|map| map.address += 64 * 6, "is in none of the buffers");
        refused(&|map| map.element = ElementType::U32, "expected elements of type u32, got f32");
        refused(&|map| map.box_extents[0] = 300, "an extent of the box is in 1 to 256");
    }
}

#[test]
fn a_kernel_that_leaves_its_memory_is_reported() {
    let device = simulated("sm_80");
    let kernel = saxpy(&device);
    let stream = device.stream().expect("a stream");
    let x = stream.upload(4, &[1.0f32; 4]).expect("room");
    let mut y = stream.upload(4, &[1.0f32; 4]).expect("room");
    let arguments = saxpy_arguments(x.address(), y.address(), 5, 1.0);
    let error = kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect_err("beyond the end");
    let Error::Simulated { kernel, reports } = &error else { panic!("{error}") };
    assert_eq!((kernel.as_str(), reports[0].rule.name()), ("saxpy", "bounds"));
    assert_eq!(error.line(), Some(20), "{error}");
    assert!(error.to_string().starts_with("kernel `saxpy`: undefined [bounds] in saxpy, line 20"), "{error}");
}

#[test]
fn poisoned_memory_is_not_to_be_used() {
    let device = simulated("sm_90a");
    let kernel = saxpy(&device);
    let stream = device.stream().expect("a stream");
    let mut x = stream.upload(4, &[1.0f32; 4]).expect("room");
    let mut y = stream.upload(4, &[1.0f32; 4]).expect("room");
    stream.poison(x.slice_mut(2, 1).expect("an element")).expect("done");
    // A copy of what is undefined is undefined.
    let mut copy = stream.allocate::<f32>(4).expect("room");
    stream.copy(&x, &mut copy).expect("done");
    let arguments = saxpy_arguments(copy.address(), y.address(), 4, 1.0);
    let error = kernel.launch(&stream, &arguments, &[copy.reads(), y.writes()]).expect_err("undefined");
    let Error::Simulated { reports, .. } = &error else { panic!("{error}") };
    assert_eq!(reports[0].rule.name(), "uninitialized-output", "{error}");
}
