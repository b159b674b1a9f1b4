//! Libraries, kernels, the linker, occupancy, and arguments in one buffer.

use super::*;

fn load_library(text: &str) -> (u32, Handle) {
    let text = CString::new(text).expect("no NUL");
    let (null, mut library) = (ptr::null::<c_void>(), 0);
    let code = call!(cuLibraryLoadData(
        &mut library => &mut Handle, text.as_ptr() => *const c_char, null => *const c_void, null => *const c_void,
        0 => u32, null => *const c_void, null => *const c_void, 0 => u32,
    ));
    (code, library)
}

fn kernel(library: Handle, name: &CStr) -> Handle {
    let mut kernel = 0;
    done!(cuLibraryGetKernel(&mut kernel => &mut Handle, library => Handle, name.as_ptr() => *const c_char));
    kernel
}

#[test]
fn kernels_of_a_library_run_in_any_context() {
    if !is_alone("libraries::kernels_of_a_library_run_in_any_context", &[("PTXSIM_DEVICES", "2")], "") {
        return;
    }
    done!(cuInit(0 => u32));
    assert_eq!(load_library("nonsense").0, INVALID_PTX);
    // No context is needed to load one.
    let (code, library) = load_library(ADD);
    assert_eq!(code, SUCCESS);
    let (mut count, mut kernels) = (0, [0; 3]);
    done!(cuLibraryGetKernelCount(&mut count => &mut u32, library => Handle));
    done!(cuLibraryEnumerateKernels(&mut kernels => &mut [Handle; 3], 3 => u32, library => Handle));
    let names = kernels.map(|kernel| {
        let mut name = ptr::null::<c_char>();
        done!(cuKernelGetName(&mut name => &mut *const c_char, kernel => Handle));
        text(name)
    });
    assert_eq!((count, names), (3, ["add", "forever", "stops"].map(str::to_owned)));
    let add = kernel(library, c"add");
    assert_eq!(add, kernels[0]);
    let (mut offset, mut bytes) = (0, 0);
    done!(cuKernelGetParamInfo(add => Handle, 1 => usize, &mut offset => &mut usize, &mut bytes => &mut usize));
    assert_eq!((offset, bytes), (8, 4));
    let beyond = call!(cuKernelGetParamInfo(
        add => Handle, 2 => usize, &mut offset => &mut usize, &mut bytes => &mut usize,
    ));
    assert_eq!(beyond, INVALID_VALUE);
    done!(cuKernelSetAttribute(8 => u32, 100 << 10 => i32, add => Handle, 1 => i32));
    assert_eq!(call!(cuKernelSetAttribute(8 => u32, 1 << 20 => i32, add => Handle, 1 => i32)), INVALID_VALUE);

    let mut functions = [0; 2];
    for (device, function) in functions.iter_mut().enumerate() {
        let mut context = 0;
        done!(cuDevicePrimaryCtxRetain(&mut context => &mut Handle, device as i32 => i32));
        done!(cuCtxSetCurrent(context => Handle));
        let data = upload(&[1, 2]);
        assert_eq!(launch(add, 2, 0, 0, data, 5), SUCCESS, "a kernel in the place of a function");
        done!(cuKernelGetFunction(function => &mut Handle, add => Handle));
        assert_eq!(launch(*function, 2, 0, 0, data, 5), SUCCESS);
        assert_eq!(download(data, 2), [11, 12]);
        let asked = launch(add, 2, 64 << 10, 0, data, 5);
        assert_eq!(asked, if device == 1 { SUCCESS } else { INVALID_VALUE }, "as set for the device");
        let (mut address, mut bytes) = (0, 0);
        let name = c"counter".as_ptr();
        done!(cuLibraryGetGlobal(
            &mut address => &mut u64, &mut bytes => &mut usize, library => Handle, name => *const c_char,
        ));
        assert_eq!((download(address, 1), bytes), (vec![7], 4));
    }
    assert_ne!(functions[0], functions[1]);
    done!(cuLibraryUnload(library => Handle));
    assert_eq!(call!(cuLibraryUnload(library => Handle)), INVALID_HANDLE);
    assert_eq!(launch(add, 1, 0, 0, 0, 0), INVALID_HANDLE);
    assert_eq!(launch(functions[1], 1, 0, 0, 0, 0), INVALID_HANDLE);
    let mut library = 0;
    assert_eq!(call!(cuKernelGetLibrary(&mut library => &mut Handle, add => Handle)), INVALID_HANDLE);
}

#[test]
fn one_text_is_linked() {
    context();
    let (null, mut linker) = (ptr::null::<c_void>(), 0);
    done!(cuLinkCreate_v2(0 => u32, null => *const c_void, null => *const c_void, &mut linker => &mut Handle));
    let add_data = |kind: u32| {
        call!(cuLinkAddData_v2(
            linker => Handle, kind => u32, ADD.as_ptr() => *const u8, ADD.len() => usize, c"add".as_ptr() => *const c_char,
            0 => u32, null => *const c_void, null => *const c_void,
        ))
    };
    assert_eq!([add_data(0), add_data(1), add_data(1)], [NOT_SUPPORTED, SUCCESS, NOT_SUPPORTED]);
    let (mut image, mut bytes, mut module) = (ptr::null::<u8>(), 0, 0);
    done!(cuLinkComplete(linker => Handle, &mut image => &mut *const u8, &mut bytes => &mut usize));
    done!(cuModuleLoadData(&mut module => &mut Handle, image => *const u8));
    done!(cuLinkDestroy(linker => Handle));
    function(module, c"add");
}

/// 64 bytes a thread.
extern "C" fn shared_bytes(threads: i32) -> usize {
    64 * threads as usize
}

#[test]
fn occupancy_follows_the_limits() {
    context();
    let add = function(load(ADD), c"add");
    let of = |threads: i32, bytes: usize| {
        let mut ctas = -1;
        done!(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
            &mut ctas => &mut i32, add => Handle, threads => i32, bytes => usize, 0 => u32,
        ));
        ctas
    };
    // sm_90: 2048 threads, 32 CTAs, 228 KiB of which each CTA takes 1 more.
    assert_eq!([of(1024, 0), of(33, 0), of(32, 75 << 10), of(32, 76 << 10)], [2, 32, 3, 2]);
    assert_eq!([of(1025, 0), of(32, 228 << 10)], [0, 0]);
    let flags = call!(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        &mut 0 => &mut i32, add => Handle, 32 => i32, 0 => usize, 9 => u32,
    ));
    assert_eq!(flags, INVALID_VALUE);
    let best = |function: Option<extern "C" fn(i32) -> usize>, limit: i32| {
        let (mut ctas, mut threads) = (0, 0);
        done!(cuOccupancyMaxPotentialBlockSize(
            &mut ctas => &mut i32, &mut threads => &mut i32, add => Handle,
            function => Option<extern "C" fn(i32) -> usize>, 0 => usize, limit => i32,
        ));
        (ctas, threads)
    };
    assert_eq!(best(None, 0), (2 * 132, 1024));
    assert_eq!(best(None, 100), (32 * 132, 64), "four warps of 100 threads are not full");
    // 2048 threads would take 128 KiB: all are resident.
    assert_eq!(best(Some(shared_bytes), 0), (2 * 132, 1024));
}

#[test]
fn arguments_come_in_one_buffer_too() {
    context();
    let (add, data) = (function(load(ADD), c"add"), upload(&[1]));
    let mut buffer = [0u8; 12];
    buffer[..8].copy_from_slice(&data.to_le_bytes());
    buffer[8..].copy_from_slice(&41u32.to_le_bytes());
    let launch = |bytes: usize| {
        let extra: [*const c_void; 5] = [
            ptr::without_provenance(1),
            buffer.as_ptr().cast(),
            ptr::without_provenance(2),
            (&raw const bytes).cast(),
            ptr::null(),
        ];
        call!(cuLaunchKernel(
            add => Handle, 1 => u32, 1 => u32, 1 => u32, 1 => u32, 1 => u32, 1 => u32, 0 => u32, 0 => Handle,
            ptr::null() => *const c_void, extra.as_ptr() => *const *const c_void,
        ))
    };
    assert_eq!([launch(12), launch(8)], [SUCCESS, INVALID_VALUE]);
    assert_eq!(download(data, 1), [42]);
}

#[test]
fn cooperative_grids_fit_the_device() {
    context();
    let (add, data) = (function(load(ADD), c"add"), upload(&[1; 32]));
    let value = 1u32;
    let mut arguments = [(&raw const data).cast::<c_void>(), (&raw const value).cast()];
    let mut launch = |ctas: u32| {
        call!(cuLaunchCooperativeKernel(
            add => Handle, ctas => u32, 1 => u32, 1 => u32, 32 => u32, 1 => u32, 1 => u32, 0 => u32, 0 => Handle,
            arguments.as_mut_ptr() => *mut *const c_void,
        ))
    };
    // 32 CTAs on each of 132 multiprocessors.
    assert_eq!([launch(1), launch(32 * 132 + 1)], [SUCCESS, 720]);
    assert_eq!(download(data, 32), [2; 32]);
}
