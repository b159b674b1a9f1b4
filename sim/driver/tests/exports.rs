//! The library as a program finds it: loaded by its path, called through its exported functions.
//!
//! Everything happens in one process and on device 0, as with a driver; a test that breaks a context has a process of
//! its own, which is this program started again.

use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::ptr;
use std::sync::OnceLock;

const SUCCESS: u32 = 0;
const INVALID_VALUE: u32 = 1;
const NOT_INITIALIZED: u32 = 3;
const INVALID_DEVICE: u32 = 101;
const INVALID_CONTEXT: u32 = 201;
const NO_BINARY_FOR_GPU: u32 = 209;
const INVALID_PTX: u32 = 218;
const INVALID_HANDLE: u32 = 400;
const NOT_FOUND: u32 = 500;
const ILLEGAL_ADDRESS: u32 = 700;
const LAUNCH_TIMEOUT: u32 = 702;
const CONTEXT_IS_DESTROYED: u32 = 709;
const LAUNCH_FAILED: u32 = 719;
const NOT_SUPPORTED: u32 = 801;
const CAPTURE_UNSUPPORTED: u32 = 900;
const CAPTURE_INVALIDATED: u32 = 901;
const INVALID_CLUSTER_SIZE: u32 = 912;

/// `data[i] += value` for a thread i of one CTA.
const ADD: &str = ".version 8.0
.target sm_80
.address_size 64
.visible .global .align 4 .u32 counter = 7;
.visible .entry add(.param .u64 data, .param .u32 value) {
    .reg .u32 %r<4>; .reg .u64 %rd<4>;
    ld.param.u64 %rd1, [data];
    ld.param.u32 %r1, [value];
    mov.u32 %r2, %tid.x;
    mul.wide.u32 %rd2, %r2, 4;
    add.u64 %rd3, %rd1, %rd2;
    ld.global.u32 %r3, [%rd3];
    add.u32 %r3, %r3, %r1;
    st.global.u32 [%rd3], %r3;
    ret;
}
.visible .entry forever() {
    .reg .u32 %r<2>;
    mov.u32 %r1, %tid.x;
    .reg .pred %p;
    setp.lt.u32 %p, %r1, 32;
    @%p bra first;
    barrier.sync 2, 64;
    ret;
first:
    barrier.sync 1, 64;
    ret;
}
.visible .entry stops() { trap; }
";

/// The library lies beside the tests, or one folder up.
fn path() -> PathBuf {
    let program = std::env::current_exe().expect("a path");
    let name = format!("{}ptxsim_driver{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let folders = program.ancestors().skip(1).take(2);
    let mut paths = folders.map(|folder| folder.join(&name));
    paths
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} was not built beside {}", program.display()))
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    // SAFETY: the library has no initialisers.
    LIBRARY.get_or_init(|| unsafe { Library::new(path()) }.expect("the library"))
}

/// Calls a function by its name with arguments of C types; the code.
macro_rules! call {
    ($name:ident($($value:expr => $type:ty),* $(,)?)) => {{
        // SAFETY: every test gives the types of cuda.h.
        let function = unsafe {
            library().get::<unsafe extern "C" fn($($type),*) -> u32>(stringify!($name).as_bytes())
        };
        // SAFETY: as above, and the pointers are to what outlives the call.
        unsafe { function.expect("an exported function")($($value),*) }
    }};
}

/// What lies on the stack of a call with many arguments.
#[repr(C)]
struct Stack([usize; 12]);

/// Calls a function with zeros for as many arguments as any has.
fn call_with_zeros(name: &str) -> u32 {
    // SAFETY: functions of C take no more than they were given, and all check for null what they are to follow.
    let function = unsafe {
        library().get::<unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, Stack) -> u32>(
            name.as_bytes(),
        )
    };
    // SAFETY: as above. The first six numbers are in registers, the others on the stack.
    unsafe { function.expect("an exported function")(0, 0, 0, 0, 0, 0, Stack([0; 12])) }
}

/// The same, which must succeed.
macro_rules! done {
    ($name:ident $arguments:tt) => {
        assert_eq!(call!($name $arguments), SUCCESS, stringify!($name))
    };
}

// After the macros that they use.
#[path = "exports/devices.rs"]
mod devices;
#[path = "exports/libraries.rs"]
mod libraries;
#[path = "exports/memory.rs"]
mod memory;
#[path = "exports/robustness.rs"]
mod robustness;
#[path = "exports/streams.rs"]
mod streams;

type Handle = usize;

/// A text that the driver keeps.
fn text(text: *const c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: the driver's texts end in 0 and stay while what they name is there.
    unsafe { CStr::from_ptr(text) }.to_str().expect("text").to_owned()
}

/// A retained primary context of device 0, current in this thread. Never released: another test may be using it.
fn context() -> Handle {
    done!(cuInit(0 => u32));
    let mut context = 0;
    done!(cuDevicePrimaryCtxRetain(&mut context => &mut Handle, 0 => i32));
    done!(cuCtxSetCurrent(context => Handle));
    context
}

fn load(ptx: &str) -> Handle {
    let text = CString::new(ptx).expect("no NUL");
    let mut module = 0;
    done!(cuModuleLoadData(&mut module => &mut Handle, text.as_ptr() => *const c_char));
    module
}

fn function(module: Handle, name: &CStr) -> Handle {
    let mut function = 0;
    done!(cuModuleGetFunction(&mut function => &mut Handle, module => Handle, name.as_ptr() => *const c_char));
    function
}

fn upload(values: &[u32]) -> u64 {
    let mut address = 0;
    done!(cuMemAlloc_v2(&mut address => &mut u64, size_of_val(values) => usize));
    done!(cuMemcpyHtoD_v2(address => u64, values.as_ptr().cast() => *const c_void, size_of_val(values) => usize));
    address
}

fn download(address: u64, count: usize) -> Vec<u32> {
    let mut values = vec![0u32; count];
    done!(cuMemcpyDtoH_v2(values.as_mut_ptr().cast() => *mut c_void, address => u64, 4 * count => usize));
    values
}

fn stream() -> Handle {
    let mut stream = 0;
    done!(cuStreamCreate(&mut stream => &mut Handle, 1 => u32));
    stream
}

/// Launches one CTA; the code.
fn launch(function: Handle, threads: u32, shared_bytes: u32, stream: Handle, data: u64, value: u32) -> u32 {
    let mut arguments = [(&raw const data).cast::<c_void>(), (&raw const value).cast()];
    call!(cuLaunchKernel(
        function => Handle, 1 => u32, 1 => u32, 1 => u32, threads => u32, 1 => u32, 1 => u32,
        shared_bytes => u32, stream => Handle, arguments.as_mut_ptr() => *mut *const c_void,
        ptr::null_mut() => *mut *const c_void,
    ))
}

/// Runs this program again for one test alone, with a variable that says that it is there.
fn alone(test: &str, variables: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("a path");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture"]).env("ALONE", "1").envs(variables.iter().copied());
    command.output().expect("a process")
}

/// Whether this is the process for this test alone; else runs it and checks what it said.
fn is_alone(test: &str, variables: &[(&str, &str)], said: &str) -> bool {
    if std::env::var_os("ALONE").is_some() {
        return true;
    }
    let output = alone(test, variables);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(said), "{text}");
    false
}

#[test]
fn nothing_works_before_initialisation() {
    if !is_alone("nothing_works_before_initialisation", &[], "") {
        return;
    }
    let (mut count, mut version, mut context) = (0, 0, 0);
    assert_eq!(call!(cuDeviceGetCount(&mut count => &mut i32)), NOT_INITIALIZED);
    assert_eq!(call!(cuCtxGetCurrent(&mut context => &mut Handle)), NOT_INITIALIZED);
    done!(cuDriverGetVersion(&mut version => &mut i32));
    assert!(version >= 12_080);
    assert_eq!(call!(cuInit(1 => u32)), INVALID_VALUE);
    done!(cuInit(0 => u32));
    done!(cuDeviceGetCount(&mut count => &mut i32));
    assert_eq!(count, 1);
}

#[test]
fn devices_are_those_of_the_environment() {
    let variables = [("PTXSIM_ARCH", "sm_89"), ("PTXSIM_DEVICES", "2")];
    if !is_alone("devices_are_those_of_the_environment", &variables, "") {
        return;
    }
    done!(cuInit(0 => u32));
    let mut device = -1;
    done!(cuDeviceGet(&mut device => &mut i32, 1 => i32));
    assert_eq!(device, 1);
    for ordinal in [2, -1] {
        assert_eq!(call!(cuDeviceGet(&mut device => &mut i32, ordinal => i32)), INVALID_DEVICE);
    }
    let mut name = [b'x' as c_char; 64];
    done!(cuDeviceGetName(name.as_mut_ptr() => *mut c_char, 64 => i32, 0 => i32));
    // SAFETY: the driver has put a 0 within the array.
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }, c"PTX simulator sm_89");
    done!(cuDeviceGetName(name.as_mut_ptr() => *mut c_char, 4 => i32, 0 => i32));
    // SAFETY: as above.
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }, c"PTX");
    let attribute = |attribute: u32| {
        let mut value = -1;
        done!(cuDeviceGetAttribute(&mut value => &mut i32, attribute => u32, 0 => i32));
        value
    };
    assert_eq!([10, 16, 75, 76, 97, 115, 120].map(attribute), [32, 128, 8, 9, 99 << 10, 1, 0]);
    let mut value = 0;
    assert_eq!(call!(cuDeviceGetAttribute(&mut value => &mut i32, 9999 => u32, 0 => i32)), INVALID_VALUE);
    let null = ptr::null_mut::<i32>();
    assert_eq!(call!(cuDeviceGetAttribute(null => *mut i32, 16 => u32, 0 => i32)), INVALID_VALUE);
}

#[test]
fn a_wrong_environment_is_named() {
    let said = "PTX simulator: cuInit: PTXSIM_ARCH is \"hopper\", expected a target such as sm_90a";
    if is_alone("a_wrong_environment_is_named", &[("PTXSIM_ARCH", "hopper")], said) {
        assert_eq!(call!(cuInit(0 => u32)), INVALID_VALUE);
    }
}

#[test]
fn codes_have_names() {
    let text = |code: u32| {
        let mut text = ptr::null::<c_char>();
        let found = call!(cuGetErrorName(code => u32, &mut text => &mut *const c_char));
        // SAFETY: the driver gives null or a text that is never freed.
        (found, (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }))
    };
    assert_eq!(text(0), (SUCCESS, Some(c"CUDA_SUCCESS")));
    assert_eq!(text(700), (SUCCESS, Some(c"CUDA_ERROR_ILLEGAL_ADDRESS")));
    assert_eq!(text(12345), (INVALID_VALUE, None));
}

#[test]
fn a_kernel_runs() {
    context();
    let module = load(ADD);
    let add = function(module, c"add");
    assert_eq!(function(module, c"add"), add, "the same handle");
    let data = upload(&[1, 2, 3]);
    assert_eq!(launch(add, 3, 0, 0, data, 10), SUCCESS);
    assert_eq!(download(data, 3), [11, 12, 13]);
    done!(cuMemsetD32Async(data + 4 => u64, 0x0102_0304 => u32, 2 => usize, 0 => Handle));
    done!(cuMemsetD8_v2(data + 8 => u64, 9 => u8, 1 => usize));
    assert_eq!(download(data, 3), [11, 0x0102_0304, 0x0102_0309]);
    let copy = upload(&[0; 3]);
    done!(cuMemcpyDtoDAsync_v2(copy + 4 => u64, data => u64, 8 => usize, 0 => Handle));
    assert_eq!(download(copy, 3), [0, 11, 0x0102_0304]);

    let (mut address, mut bytes) = (0, 0);
    done!(cuModuleGetGlobal_v2(
        &mut address => &mut u64, &mut bytes => &mut usize, module => Handle, c"counter".as_ptr() => *const c_char,
    ));
    assert_eq!((download(address, 1), bytes), (vec![7], 4));
    done!(cuModuleUnload(module => Handle));
    assert_eq!(launch(add, 3, 0, 0, data, 10), INVALID_HANDLE, "the module is gone");
    done!(cuMemFree_v2(data => u64));
    done!(cuMemFree_v2(copy => u64));
}

/// `CUlaunchConfig` with one attribute of clusters.
#[repr(C)]
struct Configuration {
    extents: [u32; 6],
    shared_bytes: u32,
    stream: Handle,
    attributes: *const Attribute,
    count: u32,
}

#[repr(C, align(8))]
struct Attribute {
    id: u32,
    padding: u32,
    value: [u32; 16],
}

/// Writes the rank of each CTA in its cluster.
const RANKS: &str = ".version 8.0
.target sm_90
.address_size 64
.visible .entry ranks(.param .u64 data) {
    .reg .u32 %r<3>; .reg .u64 %rd<4>;
    ld.param.u64 %rd1, [data];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %cluster_ctarank;
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r2;
    ret;
}
";

#[test]
fn clusters_are_attributes_of_a_launch() {
    context();
    let ranks = function(load(RANKS), c"ranks");
    let data = upload(&[99; 16]);
    let launch = |cluster: u32, programmatic: u32| {
        let mut value = [0; 16];
        value[..3].copy_from_slice(&[cluster, 1, 1]);
        let attributes = [
            Attribute { id: 4, padding: 0, value },
            Attribute { id: programmatic, padding: 0, value: [1; 16] },
        ];
        let configuration = Configuration {
            extents: [16, 1, 1, 1, 1, 1],
            shared_bytes: 0,
            stream: 0,
            attributes: attributes.as_ptr(),
            count: 2,
        };
        let mut arguments = [(&raw const data).cast::<c_void>()];
        call!(cuLaunchKernelEx(
            &configuration => &Configuration, ranks => Handle, arguments.as_mut_ptr() => *mut *const c_void,
            ptr::null_mut() => *mut *const c_void,
        ))
    };
    assert_eq!(launch(4, 6), SUCCESS);
    assert_eq!(download(data, 16), (0..16).map(|cta| cta % 4).collect::<Vec<u32>>());
    assert_eq!(launch(16, 6), INVALID_CLUSTER_SIZE, "not without opting in");
    assert_eq!(launch(0, 6), INVALID_CLUSTER_SIZE);
    assert_eq!(launch(4, 7), NOT_SUPPORTED, "an event of the programmatic launch");
    done!(cuFuncSetAttribute(ranks => Handle, 14 => u32, 1 => i32));
    assert_eq!(launch(16, 6), SUCCESS);
    assert_eq!(download(data, 16), (0..16).collect::<Vec<u32>>());
}

#[test]
fn shared_memory_beyond_48_kib_is_asked_for() {
    context();
    let add = function(load(ADD), c"add");
    let data = upload(&[1]);
    assert_eq!(launch(add, 1, 48 << 10, 0, data, 1), SUCCESS);
    assert_eq!(launch(add, 1, 100 << 10, 0, data, 1), INVALID_VALUE);
    done!(cuFuncSetAttribute(add => Handle, 8 => u32, 227 << 10 => i32));
    assert_eq!(launch(add, 1, 100 << 10, 0, data, 1), SUCCESS);
    assert_eq!(call!(cuFuncSetAttribute(add => Handle, 8 => u32, 228 << 10 => i32)), INVALID_VALUE);
    let mut ctas = 0;
    done!(cuOccupancyMaxActiveBlocksPerMultiprocessor(
        &mut ctas => &mut i32, add => Handle, 128 => i32, 100 << 10 => usize,
    ));
    assert_eq!(ctas, 2);
    assert_eq!(launch(add, 1025, 0, 0, data, 1), INVALID_VALUE, "too many threads");
    assert_eq!(download(data, 1), [3]);
}

#[test]
fn wrong_handles_and_null_pointers_are_errors() {
    context();
    let stream = stream();
    let null = ptr::null_mut::<Handle>();
    assert_eq!(call!(cuStreamCreate(null => *mut Handle, 0 => u32)), INVALID_VALUE);
    for handle in [0x7777, stream + 1, usize::MAX] {
        assert_eq!(call!(cuStreamSynchronize(handle => Handle)), INVALID_HANDLE);
        assert_eq!(call!(cuEventRecord(handle => Handle, stream => Handle)), INVALID_HANDLE);
        assert_eq!(call!(cuEventDestroy_v2(handle => Handle)), INVALID_HANDLE);
        assert_eq!(call!(cuModuleUnload(handle => Handle)), INVALID_HANDLE);
        assert_eq!(call!(cuGraphLaunch(handle => Handle, stream => Handle)), INVALID_HANDLE);
        assert_eq!(call!(cuCtxSetCurrent(handle => Handle)), INVALID_CONTEXT);
        assert_eq!(launch(handle, 1, 0, 0, 0, 0), INVALID_HANDLE);
    }
    done!(cuStreamDestroy_v2(stream => Handle));
    assert_eq!(call!(cuStreamDestroy_v2(stream => Handle)), INVALID_HANDLE);

    let module = load(ADD);
    let mut handle = 0;
    let missing = c"subtract".as_ptr();
    let found =
        call!(cuModuleGetFunction(&mut handle => &mut Handle, module => Handle, missing => *const c_char));
    assert_eq!(found, NOT_FOUND);
    let add = function(module, c"add");
    let no_arguments = ptr::null_mut::<*const c_void>();
    let launched = call!(cuLaunchKernel(
        add => Handle, 1 => u32, 1 => u32, 1 => u32, 1 => u32, 1 => u32, 1 => u32, 0 => u32, 0 => Handle,
        no_arguments => *mut *const c_void, no_arguments => *mut *const c_void,
    ));
    assert_eq!(launched, INVALID_VALUE);

    let data = upload(&[1, 2]);
    let null = ptr::null_mut::<c_void>();
    assert_eq!(call!(cuMemcpyDtoH_v2(null => *mut c_void, data => u64, 8 => usize)), INVALID_VALUE);
    done!(cuMemcpyDtoH_v2(null => *mut c_void, data => u64, 0 => usize));
    let mut values = [0u32; 3];
    let to: *mut c_void = values.as_mut_ptr().cast();
    assert_eq!(
        call!(cuMemcpyDtoH_v2(to => *mut c_void, data => u64, 12 => usize)),
        INVALID_VALUE,
        "beyond the end"
    );
    assert_eq!(call!(cuMemcpyDtoD_v2(data => u64, data => u64, usize::MAX => usize)), INVALID_VALUE);
    assert_eq!(call!(cuMemsetD32_v2(data + 2 => u64, 0 => u32, 1 => usize)), INVALID_VALUE, "misaligned");
    assert_eq!(call!(cuMemFree_v2(data + 4 => u64)), INVALID_VALUE);
    done!(cuMemFree_v2(data => u64));
    assert_eq!(call!(cuMemFree_v2(data => u64)), INVALID_VALUE);
}

#[test]
fn a_thread_without_a_context_can_do_nothing() {
    let context = context();
    let data = upload(&[1]);
    let without = std::thread::spawn(move || {
        let mut address = 0;
        assert_eq!(call!(cuMemAlloc_v2(&mut address => &mut u64, 4 => usize)), INVALID_CONTEXT);
        done!(cuCtxPushCurrent_v2(context => Handle));
        assert_eq!(download(data, 1), [1]);
        let mut popped = 0;
        done!(cuCtxPopCurrent_v2(&mut popped => &mut Handle));
        assert_eq!(popped, context);
        assert_eq!(call!(cuCtxPopCurrent_v2(&mut popped => &mut Handle)), INVALID_CONTEXT);
    });
    without.join().expect("no failure");
    assert_eq!(call!(cuCtxPushCurrent_v2(0 => Handle)), INVALID_CONTEXT);
}

#[test]
fn threads_share_a_context() {
    let context = context();
    let add = function(load(ADD), c"add");
    let threads: Vec<_> = (0..4u32)
        .map(|thread| {
            std::thread::spawn(move || {
                done!(cuCtxSetCurrent(context => Handle));
                let (data, stream) = (upload(&[thread; 32]), stream());
                for _ in 0..20 {
                    assert_eq!(launch(add, 32, 0, stream, data, 1), SUCCESS);
                }
                assert_eq!(download(data, 32), [thread + 20; 32]);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no failure"));
}

/// Loads text with a log for errors and one for warnings; the code, and what they say.
fn load_logged(text: &CStr, room: usize) -> (u32, [String; 2]) {
    let (mut errors, mut information) = (vec![0x55u8; room + 1], vec![0x55u8; room + 1]);
    let mut options = [5u32, 6, 3, 4];
    let mut values = [errors.as_mut_ptr() as usize, room, information.as_mut_ptr() as usize, room];
    let mut module = 0;
    let code = call!(cuModuleLoadDataEx(
        &mut module => &mut Handle, text.as_ptr() => *const c_char, 4 => u32, options.as_mut_ptr() => *mut u32,
        values.as_mut_ptr() => *mut usize,
    ));
    assert_eq!((errors[room], information[room]), (0x55, 0x55), "nothing is written beyond the end");
    let logs = [(errors, values[1]), (information, values[3])];
    let logs = logs.map(|(log, used)| {
        assert_eq!(log[used], 0);
        String::from_utf8(log[..used].to_vec()).expect("text")
    });
    (code, logs)
}

#[test]
fn the_log_names_the_line_of_wrong_text() {
    context();
    let wrong = CString::new(ADD.replace("mul.wide.u32", "mul.wild.u32")).expect("no NUL");
    let (code, [errors, _]) = load_logged(&wrong, 4096);
    assert_eq!(code, INVALID_PTX);
    assert!(errors.starts_with("line 10, column "), "{errors}");
    let (code, [errors, _]) = load_logged(&wrong, 8);
    assert_eq!((code, errors.as_str()), (INVALID_PTX, "line 10"));
    let right = CString::new(ADD).expect("no NUL");
    let (code, [errors, information]) = load_logged(&right, 4096);
    assert_eq!((code, errors.as_str()), (SUCCESS, ""));
    assert_eq!(information, "PTX simulator: add, forever, stops for sm_80\n");

    let mut module = 0;
    for (image, expected) in [
        (&b"\x7fELF\x02\0"[..], NO_BINARY_FOR_GPU),
        (b"\0", INVALID_PTX),
        (b"\xff\xfe\0", INVALID_PTX),
        (b".version 8.6\n.target sm_100a\n.address_size 64\n\0", NO_BINARY_FOR_GPU),
    ] {
        let code = call!(cuModuleLoadData(&mut module => &mut Handle, image.as_ptr() => *const u8));
        assert_eq!(code, expected, "{image:?}");
    }
}

/// Records events around work on two streams; what was captured, as a graph that can be launched.
fn capture(stream: Handle, work: impl FnOnce()) -> (u32, Handle) {
    done!(cuStreamBeginCapture_v2(stream => Handle, 2 => u32));
    let mut status = 0;
    done!(cuStreamIsCapturing(stream => Handle, &mut status => &mut u32));
    assert_eq!(status, 1);
    work();
    let mut graph = 0;
    let code = call!(cuStreamEndCapture(stream => Handle, &mut graph => &mut Handle));
    (code, graph)
}

#[test]
fn graphs_hold_the_work_of_all_streams_that_joined() {
    context();
    let add = function(load(ADD), c"add");
    let data = upload(&[0; 4]);
    let (main, side) = (stream(), stream());
    let event = || {
        let mut event = 0;
        done!(cuEventCreate(&mut event => &mut Handle, 2 => u32));
        event
    };
    let (fork, join) = (event(), event());
    let (code, graph) = capture(main, || {
        assert_eq!(launch(add, 4, 0, main, data, 1), SUCCESS);
        done!(cuEventRecord(fork => Handle, main => Handle));
        done!(cuStreamWaitEvent(side => Handle, fork => Handle, 0 => u32));
        assert_eq!(launch(add, 2, 0, side, data, 10), SUCCESS);
        done!(cuEventRecord(join => Handle, side => Handle));
        done!(cuStreamWaitEvent(main => Handle, join => Handle, 0 => u32));
    });
    assert_eq!(code, SUCCESS);
    assert_eq!(download(data, 4), [0; 4], "capturing does nothing");
    let mut executable = 0;
    done!(cuGraphInstantiateWithFlags(&mut executable => &mut Handle, graph => Handle, 0 => u64));
    done!(cuGraphDestroy(graph => Handle));
    for _ in 0..3 {
        done!(cuGraphLaunch(executable => Handle, main => Handle));
    }
    assert_eq!(download(data, 4), [33, 33, 3, 3]);
    assert_eq!(launch(add, 4, 0, side, data, 1), SUCCESS, "the other stream is free again");
    assert_eq!(download(data, 4), [34, 34, 4, 4]);
    done!(cuGraphExecDestroy(executable => Handle));
    assert_eq!(call!(cuGraphLaunch(executable => Handle, main => Handle)), INVALID_HANDLE);

    let (code, graph) = capture(main, || {
        assert_eq!(call!(cuStreamSynchronize(main => Handle)), CAPTURE_UNSUPPORTED);
    });
    assert_eq!((code, graph), (CAPTURE_INVALIDATED, 0));
    done!(cuStreamSynchronize(main => Handle));
}

#[test]
fn events_take_time() {
    context();
    let (stream, mut events) = (stream(), [0, 0, 0]);
    for (event, flags) in events.iter_mut().zip([0, 0, 2]) {
        done!(cuEventCreate(event => &mut Handle, flags => u32));
    }
    let (add, data) = (function(load(ADD), c"add"), upload(&[1]));
    done!(cuEventRecord(events[0] => Handle, stream => Handle));
    assert_eq!(launch(add, 1, 0, stream, data, 1), SUCCESS);
    done!(cuEventRecord(events[1] => Handle, stream => Handle));
    done!(cuEventRecord(events[2] => Handle, stream => Handle));
    done!(cuEventSynchronize(events[1] => Handle));
    let mut time = 0.0;
    done!(cuEventElapsedTime(&mut time => &mut f32, events[0] => Handle, events[1] => Handle));
    // Other threads may have moved the clock of the host.
    assert!((0.002..60_000.0).contains(&time), "{time} ms");
    let untimed =
        call!(cuEventElapsedTime_v2(&mut time => &mut f32, events[0] => Handle, events[2] => Handle));
    assert_eq!(untimed, INVALID_HANDLE);
}

#[test]
fn pinned_memory_is_of_whole_pages() {
    context();
    let mut address = ptr::null_mut::<u8>();
    done!(cuMemHostAlloc(&mut address => &mut *mut u8, 5000 => usize, 0 => u32));
    assert!(address.addr().is_multiple_of(4096));
    // SAFETY: the driver gave 5000 bytes.
    unsafe { address.write_bytes(7, 5000) };
    let data = upload(&[0; 1250]);
    done!(cuMemcpyHtoDAsync_v2(data => u64, address => *const u8, 5000 => usize, 0 => Handle));
    assert_eq!(download(data, 1250), [0x0707_0707; 1250]);
    done!(cuMemFreeHost(address => *mut u8));
    assert_eq!(call!(cuMemFreeHost(address => *mut u8)), INVALID_VALUE);
}

#[test]
fn functions_are_found_by_name() {
    let (mut function, mut status) = (0usize, 9);
    done!(cuGetProcAddress_v2(
        c"cuMemAlloc".as_ptr() => *const c_char, &mut function => &mut usize, 12000 => i32, 0 => u64,
        &mut status => &mut u32,
    ));
    // SAFETY: only its address is looked at.
    let exported = unsafe { library().get::<unsafe extern "C" fn()>(b"cuMemAlloc_v2") }.expect("exported");
    assert_eq!((function, status), (*exported as usize, 0));
    let found = call!(cuGetProcAddress_v2(
        c"cuFly".as_ptr() => *const c_char, &mut function => &mut usize, 12000 => i32, 0 => u64,
        &mut status => &mut u32,
    ));
    assert_eq!((found, function, status), (NOT_FOUND, 0, 1));
}

/// A tensor map, aligned as the driver asks.
#[repr(C, align(64))]
struct Map([u8; 128]);

#[test]
fn tensor_maps_are_checked() {
    done!(cuInit(0 => u32));
    let mut map = Map([0; 128]);
    let mut encode = |rank: u32, stride: u64, swizzle: u32| {
        let (extents, strides, boxes, ones) = ([64u64, 8], [stride], [64u32, 8], [1u32, 1]);
        call!(cuTensorMapEncodeTiled(
            &mut map => &mut Map, 9 => u32, rank => u32, 0x7f00_0000_0000 => u64, extents.as_ptr() => *const u64,
            strides.as_ptr() => *const u64, boxes.as_ptr() => *const u32, ones.as_ptr() => *const u32, 0 => u32,
            swizzle => u32, 0 => u32, 0 => u32,
        ))
    };
    assert_eq!(encode(2, 128, 3), SUCCESS);
    assert_eq!(encode(2, 120, 3), INVALID_VALUE, "a stride is a multiple of 16");
    assert_eq!(encode(2, 128, 77), INVALID_VALUE);
    assert_eq!(encode(0, 128, 0), INVALID_VALUE);
    assert_eq!(encode(6, 128, 0), INVALID_VALUE);
    assert_ne!(map.0, [0; 128]);
    let before = map.0;
    assert_eq!(
        call!(cuTensorMapReplaceAddress(&mut map => &mut Map, 0x7f00_0000_0008 => u64)),
        INVALID_VALUE
    );
    assert_eq!(map.0, before);
    done!(cuTensorMapReplaceAddress(&mut map => &mut Map, 0x7f00_0000_1000 => u64));
    assert_ne!(map.0, before);
    assert_eq!(call!(cuTensorMapEncodeIm2col(&mut map => &mut Map)), NOT_SUPPORTED);
}

#[test]
fn a_kernel_outside_its_memory_breaks_the_context() {
    let test = "a_kernel_outside_its_memory_breaks_the_context";
    if !is_alone(test, &[], "undefined [bounds] in add, line 12") {
        return;
    }
    let old = context();
    let (add, data, stream) = (function(load(ADD), c"add"), upload(&[1, 2]), stream());
    assert_eq!(launch(add, 3, 0, stream, data, 1), SUCCESS, "a launch does not wait");
    for _ in 0..2 {
        assert_eq!(call!(cuStreamSynchronize(stream => Handle)), ILLEGAL_ADDRESS);
        assert_eq!(call!(cuCtxSynchronize()), ILLEGAL_ADDRESS);
        assert_eq!(launch(add, 2, 0, stream, data, 1), ILLEGAL_ADDRESS);
    }
    // A new context is sound, the old one and what was in it is gone.
    done!(cuDevicePrimaryCtxRelease_v2(0 => i32));
    assert_eq!(call!(cuCtxSynchronize()), CONTEXT_IS_DESTROYED);
    assert_ne!(context(), old);
    assert_eq!(call!(cuStreamSynchronize(stream => Handle)), INVALID_HANDLE);
    assert_eq!(call!(cuMemFree_v2(data => u64)), INVALID_VALUE);
    let (add, data) = (function(load(ADD), c"add"), upload(&[1, 2]));
    assert_eq!(launch(add, 2, 0, 0, data, 1), SUCCESS);
    assert_eq!(download(data, 2), [2, 3]);
}

#[test]
fn a_deadlock_is_a_timeout_and_blocks_nobody() {
    let test = "a_deadlock_is_a_timeout_and_blocks_nobody";
    if !is_alone(test, &[("CUDA_LAUNCH_BLOCKING", "1")], "deadlock [deadlock] in forever") {
        return;
    }
    context();
    let module = load(ADD);
    assert_eq!(launch(function(module, c"forever"), 64, 0, 0, 0, 0), LAUNCH_TIMEOUT);
    assert_eq!(call!(cuCtxSynchronize()), LAUNCH_TIMEOUT);
}

#[test]
fn a_trap_is_a_failed_launch() {
    if !is_alone("a_trap_is_a_failed_launch", &[], "undefined [trap] in stops") {
        return;
    }
    context();
    assert_eq!(launch(function(load(ADD), c"stops"), 1, 0, 0, 0, 0), SUCCESS);
    assert_eq!(call!(cuCtxSynchronize()), LAUNCH_FAILED);
}

#[test]
fn what_is_not_simulated_says_so_once() {
    let test = "what_is_not_simulated_says_so_once";
    if std::env::var_os("ALONE").is_some() {
        for _ in 0..3 {
            assert_eq!(call!(cuMulticastCreate(0 => Handle, 0 => usize)), NOT_SUPPORTED);
        }
        return;
    }
    let output = alone(test, &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(
        text.matches("PTX simulator: cuMulticastCreate: is not simulated: multicast addresses").count(),
        1,
        "{text}"
    );
}
