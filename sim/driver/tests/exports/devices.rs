//! Several devices: contexts, peers, copies between them. Each test has a process with two devices.

use super::*;

const PEER_ACCESS_UNSUPPORTED: u32 = 217;
const PEER_ACCESS_ALREADY_ENABLED: u32 = 704;
const PEER_ACCESS_NOT_ENABLED: u32 = 705;
const TWO: &[(&str, &str)] = &[("PTXSIM_DEVICES", "2")];

/// The primary context of a device.
fn primary(device: i32) -> Handle {
    done!(cuInit(0 => u32));
    let mut context = 0;
    done!(cuDevicePrimaryCtxRetain(&mut context => &mut Handle, device => i32));
    context
}

fn enter(context: Handle) {
    done!(cuCtxSetCurrent(context => Handle));
}

#[test]
fn peers_use_each_others_memory_once_they_may() {
    if !is_alone("devices::peers_use_each_others_memory_once_they_may", TWO, "") {
        return;
    }
    let contexts = [primary(0), primary(1)];
    let (mut can, mut value) = (-1, -1);
    done!(cuDeviceCanAccessPeer(&mut can => &mut i32, 0 => i32, 1 => i32));
    done!(cuDeviceGetP2PAttribute(&mut value => &mut i32, 3 => u32, 0 => i32, 1 => i32));
    assert_eq!((can, value), (1, 1));
    done!(cuDeviceCanAccessPeer(&mut can => &mut i32, 1 => i32, 1 => i32));
    assert_eq!(can, 0);
    enter(contexts[0]);
    let data = upload(&[1, 2, 3]);
    enter(contexts[1]);
    let enable = |context: Handle| call!(cuCtxEnablePeerAccess(context => Handle, 0 => u32));
    let disable = |context: Handle| call!(cuCtxDisablePeerAccess(context => Handle));
    assert_eq!(disable(contexts[0]), PEER_ACCESS_NOT_ENABLED);
    assert_eq!(enable(contexts[1]), INVALID_CONTEXT, "its own");
    assert_eq!(enable(0x7777), INVALID_CONTEXT);
    assert_eq!(enable(contexts[0]), SUCCESS);
    assert_eq!(enable(contexts[0]), PEER_ACCESS_ALREADY_ENABLED);
    let add = function(load(ADD), c"add");
    assert_eq!(launch(add, 3, 0, 0, data, 10), SUCCESS);
    enter(contexts[0]);
    let later = upload(&[5]);
    assert_eq!(enable(contexts[1]), SUCCESS);
    enter(contexts[1]);
    assert_eq!(launch(add, 1, 0, 0, later, 1), SUCCESS, "allocated later");
    done!(cuCtxSynchronize());
    assert_eq!((download(data, 3), download(later, 1)), (vec![11, 12, 13], vec![6]));

    let own = upload(&[0; 3]);
    done!(cuMemcpyPeer(own => u64, contexts[1] => Handle, data => u64, contexts[0] => Handle, 12 => usize));
    assert_eq!(download(own, 3), [11, 12, 13]);
    let copied = call!(cuMemcpyPeerAsync(
        own => u64, 0x7777 => Handle, data => u64, contexts[0] => Handle, 12 => usize, 0 => Handle,
    ));
    assert_eq!(copied, INVALID_CONTEXT);

    let mut second = 0;
    done!(cuCtxCreate_v4(&mut second => &mut Handle, ptr::null() => *const c_void, 0 => u32, 1 => i32));
    assert_eq!(enable(contexts[1]), PEER_ACCESS_UNSUPPORTED, "of the same device");
    done!(cuCtxDestroy_v2(second => Handle));
    assert_eq!(call!(cuCtxDestroy_v2(second => Handle)), INVALID_CONTEXT);
    assert_eq!(call!(cuCtxDestroy_v2(contexts[1] => Handle)), INVALID_CONTEXT, "a primary one");
    enter(contexts[1]);
    assert_eq!(disable(contexts[0]), SUCCESS);
    assert_eq!(launch(add, 3, 0, 0, data, 10), SUCCESS, "a launch does not wait");
    assert_eq!(call!(cuCtxSynchronize()), ILLEGAL_ADDRESS);
    enter(contexts[0]);
    done!(cuCtxSynchronize());
}

#[test]
fn pools_have_access_of_their_own() {
    if !is_alone("devices::pools_have_access_of_their_own", TWO, "") {
        return;
    }
    let contexts = [primary(0), primary(1)];
    enter(contexts[0]);
    let (mut pool, mut data, mut flags) = (0, 0, 9);
    done!(cuDeviceGetMemPool(&mut pool => &mut Handle, 0 => i32));
    done!(cuMemAllocAsync(&mut data => &mut u64, 4 => usize, 0 => Handle));
    done!(cuMemsetD32_v2(data => u64, 5 => u32, 1 => usize));
    done!(cuMemPoolSetAccess(pool => Handle, [1u32, 1, 3].as_ptr() => *const u32, 1 => usize));
    done!(cuMemPoolGetAccess(&mut flags => &mut u32, pool => Handle, [1u32, 1].as_ptr() => *const u32));
    assert_eq!(flags, 3);
    let revoked = call!(cuMemPoolSetAccess(pool => Handle, [1u32, 0, 0].as_ptr() => *const u32, 1 => usize));
    assert_eq!(revoked, INVALID_DEVICE, "of its own device");
    assert_eq!(call!(cuDeviceSetMemPool(1 => i32, pool => Handle)), INVALID_VALUE, "of another device");
    enter(contexts[1]);
    assert_eq!(launch(function(load(ADD), c"add"), 1, 0, 0, data, 2), SUCCESS);
    done!(cuCtxSynchronize());
    assert_eq!(download(data, 1), [7]);
}

#[test]
fn devices_have_names_and_numbers() {
    if !is_alone("devices::devices_have_names_and_numbers", TWO, "") {
        return;
    }
    done!(cuInit(0 => u32));
    let mut uuids = [[0u8; 16]; 2];
    for (device, uuid) in uuids.iter_mut().enumerate() {
        done!(cuDeviceGetUuid_v2(uuid => &mut [u8; 16], device as i32 => i32));
    }
    assert_ne!(uuids[0], uuids[1]);
    let (mut text, mut device) = ([0u8; 13], 9);
    done!(cuDeviceGetPCIBusId(text.as_mut_ptr() => *mut u8, 13 => i32, 1 => i32));
    assert_eq!(text, *b"0000:01:00.0\0");
    done!(cuDeviceGetByPCIBusId(&mut device => &mut i32, text.as_ptr() => *const u8));
    assert_eq!(device, 1);
    let unknown = c"0000:07:00.0".as_ptr();
    assert_eq!(
        call!(cuDeviceGetByPCIBusId(&mut device => &mut i32, unknown => *const c_char)),
        INVALID_DEVICE
    );
}

#[test]
fn no_devices_is_an_error() {
    if is_alone("devices::no_devices_is_an_error", &[("PTXSIM_DEVICES", "0")], "") {
        assert_eq!(call!(cuInit(0 => u32)), 100);
    }
}
