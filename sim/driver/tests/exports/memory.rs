//! Memory: pools, mapping by hand, handles, what an address is, copies between all places.

use super::*;

const OUT_OF_MEMORY: u32 = 2;
const ALREADY_REGISTERED: u32 = 712;
const NOT_REGISTERED: u32 = 713;
const MIB: usize = 1 << 20;

/// `CUmemPoolProps` of device 0 with a limit.
#[repr(C)]
struct PoolProperties {
    kind: [u32; 4],
    security: usize,
    max_bytes: usize,
    rest: [u64; 7],
}

/// `CUmemAllocationProp`
#[repr(C)]
struct Properties {
    kind: [u32; 4],
    rest: [u64; 2],
}

fn pool_attribute(pool: Handle, attribute: u32) -> u64 {
    let mut value = 0u64;
    done!(cuMemPoolGetAttribute(pool => Handle, attribute => u32, &mut value => &mut u64));
    value
}

#[test]
fn pools_count_what_they_give_and_keep_their_limit() {
    context();
    let properties = PoolProperties { kind: [1, 0, 1, 0], security: 0, max_bytes: 4096, rest: [0; 7] };
    let mut pool = 0;
    done!(cuMemPoolCreate(&mut pool => &mut Handle, &properties => &PoolProperties));
    let allocate = |bytes: usize| {
        let mut address = 0;
        let code = call!(cuMemAllocFromPoolAsync(
            &mut address => &mut u64, bytes => usize, pool => Handle, 0 => Handle,
        ));
        (code, address)
    };
    let (code, first) = allocate(3000);
    assert_eq!((code, pool_attribute(pool, 7)), (SUCCESS, 3000));
    assert_eq!(allocate(2000).0, OUT_OF_MEMORY);
    let mut threshold = 2500u64;
    done!(cuMemPoolSetAttribute(pool => Handle, 4 => u32, &mut threshold => &mut u64));
    done!(cuMemFreeAsync(first => u64, 0 => Handle));
    assert_eq!(call!(cuMemFreeAsync(first => u64, 0 => Handle)), INVALID_VALUE, "twice");
    assert_eq!([5, 6, 7, 8].map(|attribute| pool_attribute(pool, attribute)), [2500, 3000, 0, 3000]);
    done!(cuMemPoolTrimTo(pool => Handle, 100 => usize));
    assert_eq!(pool_attribute(pool, 5), 100);
    assert_eq!(
        call!(cuMemPoolGetAttribute(pool => Handle, 99 => u32, &mut threshold => &mut u64)),
        INVALID_VALUE
    );

    let (_, second) = allocate(8);
    done!(cuMemPoolDestroy(pool => Handle));
    assert_eq!(allocate(8).0, INVALID_VALUE, "the pool is destroyed");
    assert_eq!(call!(cuMemPoolDestroy(pool => Handle)), INVALID_VALUE);
    done!(cuMemsetD8_v2(second => u64, 1 => u8, 8 => usize));
    done!(cuMemFree_v2(second => u64));

    let mut own = 0;
    done!(cuDeviceGetDefaultMemPool(&mut own => &mut Handle, 0 => i32));
    assert_eq!(call!(cuMemPoolDestroy(own => Handle)), INVALID_VALUE);
    let managed = PoolProperties { kind: [2, 0, 1, 0], ..properties };
    assert_eq!(call!(cuMemPoolCreate(&mut pool => &mut Handle, &managed => &PoolProperties)), NOT_SUPPORTED);
}

fn reserve(bytes: usize) -> u64 {
    let mut address = 0;
    done!(cuMemAddressReserve(&mut address => &mut u64, bytes => usize, 0 => usize, 0 => u64, 0 => u64));
    address
}

/// Physical memory of device 0 that can be exported.
fn physical(bytes: usize) -> Handle {
    let properties = Properties { kind: [1, 1, 1, 0], rest: [0; 2] };
    let mut granularity = 0;
    done!(cuMemGetAllocationGranularity(
        &mut granularity => &mut usize, &properties => &Properties, 0 => u32,
    ));
    assert_eq!(granularity, 2 * MIB);
    let mut handle = 0;
    done!(cuMemCreate(&mut handle => &mut Handle, bytes => usize, &properties => &Properties, 0 => u64));
    handle
}

fn map(address: u64, bytes: usize, handle: Handle) -> u32 {
    call!(cuMemMap(address => u64, bytes => usize, 0 => usize, handle => Handle, 0 => u64))
}

fn allow(address: u64, bytes: usize, flags: u32) -> u32 {
    let description = [1u32, 0, flags];
    call!(cuMemSetAccess(address => u64, bytes => usize, description.as_ptr() => *const u32, 1 => usize))
}

#[test]
fn memory_is_mapped_by_hand() {
    context();
    let add = function(load(ADD), c"add");
    let (address, bytes) = (reserve(8 * MIB), 2 * MIB);
    let (first, second) = (physical(bytes), physical(bytes));
    assert_eq!(map(address, bytes, first), SUCCESS);
    assert_eq!(map(address, bytes, second), OUT_OF_MEMORY, "the addresses are taken");
    assert_eq!(map(address + 4 * MIB as u64, bytes, first), NOT_SUPPORTED, "at two addresses");
    assert_eq!(map(address + 8 * MIB as u64, bytes, second), INVALID_VALUE, "not reserved");
    assert_eq!(map(address + bytes as u64, bytes, second), SUCCESS);
    assert_eq!(allow(address, 2 * bytes, 3), SUCCESS);

    // Both mappings are one range to copies.
    let border = address + bytes as u64 - 8;
    done!(cuMemcpyHtoD_v2(border => u64, [1u32, 2, 3, 4].as_ptr() => *const u32, 16 => usize));
    assert_eq!(launch(add, 2, 0, 0, border, 10), SUCCESS);
    assert_eq!(launch(add, 2, 0, 0, border + 8, 20), SUCCESS);
    assert_eq!(download(border, 4), [11, 12, 23, 24]);

    // What is not released keeps what it holds.
    assert_eq!(call!(cuMemUnmap(address => u64, bytes - 4096 => usize)), INVALID_VALUE);
    done!(cuMemUnmap(address + bytes as u64 => u64, bytes => usize));
    assert_eq!(
        call!(cuMemcpyDtoH_v2([0u32; 4].as_mut_ptr() => *mut u32, border => u64, 16 => usize)),
        INVALID_VALUE
    );
    let elsewhere = address + 6 * MIB as u64;
    assert_eq!(map(elsewhere, bytes, second), SUCCESS);
    assert_eq!(download(elsewhere, 2), [23, 24]);
    let mut again = 0;
    done!(cuMemRetainAllocationHandle(&mut again => &mut Handle, elsewhere + 5 => u64));
    assert_eq!(again, second);
    for _ in 0..2 {
        done!(cuMemRelease(second => Handle));
    }
    assert_eq!(call!(cuMemRelease(second => Handle)), INVALID_VALUE);
    assert_eq!(download(elsewhere, 2), [23, 24], "mapped memory stays");
    assert_eq!(call!(cuMemAddressFree(address => u64, 8 * MIB => usize)), INVALID_VALUE, "still mapped");
    done!(cuMemUnmap(elsewhere => u64, bytes => usize));
    assert_eq!(map(elsewhere, bytes, second), INVALID_VALUE, "it is gone");
    done!(cuMemUnmap(address => u64, bytes => usize));
    done!(cuMemRelease(first => Handle));
    done!(cuMemAddressFree(address => u64, 8 * MIB => usize));
    assert_eq!(call!(cuMemAddressFree(address => u64, 8 * MIB => usize)), INVALID_VALUE);
    let mut handle = 0;
    let wrong = Properties { kind: [1, 0, 2, 0], rest: [0; 2] };
    assert_eq!(
        call!(cuMemCreate(&mut handle => &mut Handle, bytes => usize, &wrong => &Properties, 0 => u64)),
        NOT_SUPPORTED,
        "memory of the host"
    );
}

#[test]
fn memory_without_access_faults() {
    let test = "memory::memory_without_access_faults";
    if !is_alone(test, &[], "undefined [bounds] in add") {
        return;
    }
    context();
    let (add, address) = (function(load(ADD), c"add"), reserve(2 * MIB));
    assert_eq!(map(address, 2 * MIB, physical(2 * MIB)), SUCCESS);
    assert_eq!(launch(add, 1, 0, 0, address, 1), SUCCESS, "a launch does not wait");
    assert_eq!(call!(cuCtxSynchronize()), ILLEGAL_ADDRESS);
}

#[test]
fn handles_are_opened_in_their_process() {
    context();
    let memory = physical(2 * MIB);
    let (mut descriptor, mut imported) = (-1i32, 0);
    done!(cuMemExportToShareableHandle(&mut descriptor => &mut i32, memory => Handle, 1 => u32, 0 => u64));
    done!(cuMemImportFromShareableHandle(&mut imported => &mut Handle, descriptor as usize => usize, 1 => u32));
    assert_eq!(imported, memory);
    let import = |descriptor: usize, kind: u32| {
        let mut handle = 0;
        call!(cuMemImportFromShareableHandle(&mut handle => &mut Handle, descriptor => usize, kind => u32))
    };
    assert_eq!(import(0x7fff_0000, 1), INVALID_VALUE, "no descriptor");
    assert_eq!(import(descriptor as usize, 8), NOT_SUPPORTED, "fabric handles");

    let data = upload(&[1, 2, 3]);
    let mut handle = IpcHandle([0; 64]);
    assert_eq!(call!(cuIpcGetMemHandle(&mut handle => &mut IpcHandle, 0x1000 => u64)), INVALID_VALUE);
    done!(cuIpcGetMemHandle(&mut handle => &mut IpcHandle, data => u64));
    let open = |handle: IpcHandle| {
        let mut address = 0;
        (call!(cuIpcOpenMemHandle_v2(&mut address => &mut u64, handle => IpcHandle, 1 => u32)), address)
    };
    assert_eq!(open(handle), (SUCCESS, data));
    let mut foreign = handle;
    foreign.0[8] ^= 1;
    assert_eq!(open(foreign).0, NOT_SUPPORTED, "another process");
    assert_eq!(open(IpcHandle([7; 64])).0, INVALID_VALUE);
    done!(cuMemFree_v2(data => u64));
    assert_eq!(open(handle).0, INVALID_VALUE, "freed");
}

/// `CUipcMemHandle`
#[derive(Clone, Copy)]
#[repr(C)]
struct IpcHandle([u8; 64]);

/// Attributes of a pointer that have 8 bytes or fewer; the code with the last.
fn attribute(attribute: u32, address: u64) -> (u32, u64) {
    let mut value = 0u64;
    (call!(cuPointerGetAttribute(&mut value => &mut u64, attribute => u32, address => u64)), value)
}

#[test]
fn addresses_say_what_they_are() {
    let context = context();
    let data = upload(&[1, 2, 3, 4]);
    assert_eq!(attribute(1, data + 5), (SUCCESS, context as u64));
    assert_eq!([2, 9, 11, 12, 8].map(|name| attribute(name, data + 5).1), [2, 0, data, 16, 0]);
    assert_eq!(attribute(99, data).0, INVALID_VALUE);
    let host = [0u32; 4];
    let address = host.as_ptr().addr() as u64;
    assert_eq!(attribute(2, address).0, INVALID_VALUE, "memory that was never named");
    let (mut kind, mut ordinal) = (77u32, 77i32);
    let mut values = [(&raw mut kind).cast::<c_void>(), (&raw mut ordinal).cast()];
    done!(cuPointerGetAttributes(
        2 => u32, [2u32, 9].as_ptr() => *const u32, values.as_mut_ptr() => *mut *mut c_void, address => u64,
    ));
    assert_eq!((kind, ordinal), (0, -2));

    let register =
        |bytes: usize| call!(cuMemHostRegister_v2(host.as_ptr() => *const u32, bytes => usize, 0 => u32));
    assert_eq!([register(0), register(16), register(8)], [INVALID_VALUE, SUCCESS, ALREADY_REGISTERED]);
    assert_eq!(attribute(2, address + 15), (SUCCESS, 1));
    let mut pointer = 0;
    let mapped = call!(cuMemHostGetDevicePointer_v2(
        &mut pointer => &mut u64, host.as_ptr() => *const u32, 0 => u32,
    ));
    assert_eq!(mapped, NOT_SUPPORTED);
    done!(cuMemHostUnregister(host.as_ptr() => *const u32));
    assert_eq!(call!(cuMemHostUnregister(host.as_ptr() => *const u32)), NOT_REGISTERED);
    assert_eq!(call!(cuMemAllocManaged(&mut pointer => &mut u64, 4 => usize, 1 => u32)), NOT_SUPPORTED);
}

#[test]
fn copies_find_out_where_memory_is() {
    context();
    let data = upload(&[0; 4]);
    let (from, mut to) = ([1u32, 2, 3, 4], [0u32; 4]);
    let host = |values: &[u32]| values.as_ptr().addr() as u64;
    done!(cuMemcpy(data => u64, host(&from) => u64, 16 => usize));
    done!(cuMemcpyAsync(data + 8 => u64, data => u64, 8 => usize, 0 => Handle));
    // The addresses of arrays that functions of the driver write to must be given as pointers.
    done!(cuMemcpy(to.as_mut_ptr() => *mut u32, data => u64, 16 => usize));
    assert_eq!(to, [1, 2, 1, 2]);
    done!(cuMemcpyAsync(to.as_mut_ptr() => *mut u32, from.as_ptr() => *const u32, 16 => usize, 0 => Handle));
    assert_eq!(to, from);
    assert_eq!(call!(cuMemcpy(data => u64, data + 8 => u64, 16 => usize)), INVALID_VALUE, "beyond the end");
}

/// `CUDA_MEMCPY2D`
#[repr(C)]
struct Copy2d {
    from: Side,
    to: Side,
    width_bytes: usize,
    height: usize,
}

#[repr(C)]
struct Side {
    x_bytes: usize,
    y: usize,
    kind: u32,
    host: *mut u32,
    device: u64,
    array: usize,
    pitch_bytes: usize,
}

#[test]
fn rows_lie_a_pitch_apart() {
    context();
    let (mut data, mut pitch) = (0, 0);
    done!(cuMemAllocPitch_v2(
        &mut data => &mut u64, &mut pitch => &mut usize, 12 => usize, 3 => usize, 4 => u32,
    ));
    assert_eq!(pitch, 512);
    done!(cuMemsetD2D32_v2(data => u64, pitch => usize, 9 => u32, 3 => usize, 3 => usize));
    let mut host = [1u32, 2, 3, 4];
    let side = |kind, host, device, pitch_bytes| Side {
        x_bytes: 0,
        y: 0,
        kind,
        host,
        device,
        array: 0,
        pitch_bytes,
    };
    let mut copy = Copy2d {
        from: side(1, host.as_mut_ptr(), 0, 8),
        to: Side { x_bytes: 4, y: 1, ..side(2, ptr::null_mut(), data, pitch) },
        width_bytes: 8,
        height: 2,
    };
    done!(cuMemcpy2D_v2(&copy => &Copy2d));
    let rows = [0, 1, 2].map(|row| download(data + row * pitch as u64, 3));
    assert_eq!(rows, [[9, 9, 9], [9, 1, 2], [9, 3, 4]]);
    copy.to.pitch_bytes = 4;
    assert_eq!(call!(cuMemcpy2D_v2(&copy => &Copy2d)), INVALID_VALUE, "rows overlap");
    copy.to.kind = 3;
    assert_ne!(call!(cuMemcpy2D_v2(&copy => &Copy2d)), SUCCESS, "arrays");
}
