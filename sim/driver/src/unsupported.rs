//! Functions that programs look for and the simulator lacks: each says so once, and refuses.

use crate::boundary::say;
use crate::error::Code;
use std::sync::Once;

/// Functions whose arguments are not looked at. By the C calling conventions in use, who calls gives arguments room and
/// takes them away: a function may ignore them.
macro_rules! unsupported {
    ($($name:ident)*) => {
        driver_functions! {
            $(fn $name() {
                static SAID: Once = Once::new();
                SAID.call_once(|| say(stringify!($name), "is not simulated"));
                Err(Code::NotSupported.into())
            })*
        }
    };
}

unsupported! {
    cuCtxCreate_v2 cuCtxCreate_v3 cuCtxCreate_v4 cuCtxDestroy_v2
    cuCtxEnablePeerAccess cuCtxDisablePeerAccess
    cuCtxGetCacheConfig cuCtxSetCacheConfig cuCtxGetLimit cuCtxSetLimit cuCtxSetFlags
    cuDestroyExternalMemory cuImportExternalMemory cuExternalMemoryGetMappedBuffer
    cuDeviceGetDefaultMemPool cuDeviceGetMemPool cuDeviceSetMemPool
    cuGraphAddKernelNode_v2 cuGraphCreate cuGraphExecUpdate_v2 cuGraphKernelNodeSetParams_v2
    cuLaunchHostFunc
    cuLibraryLoadData cuLibraryUnload cuLibraryGetKernel cuKernelGetFunction
    cuMemAdvise_v2 cuMemAllocFromPoolAsync cuMemAllocManaged cuMemAllocPitch_v2 cuMemPrefetchAsync_v2
    cuMemAddressReserve cuMemAddressFree cuMemCreate cuMemRelease cuMemMap cuMemUnmap cuMemSetAccess
    cuMemExportToShareableHandle cuMemImportFromShareableHandle cuMemGetAllocationGranularity
    cuMemHostGetDevicePointer_v2 cuMemHostRegister_v2 cuMemHostUnregister
    cuMemPoolCreate cuMemPoolDestroy cuMemPoolGetAttribute cuMemPoolSetAttribute cuMemPoolTrimTo
    cuMemcpy cuMemcpyAsync cuMemcpy2DAsync_v2 cuMemcpyPeer
    cuModuleLoadFatBinary cuLinkCreate_v2 cuLinkAddData_v2 cuLinkComplete cuLinkDestroy
    cuMulticastCreate cuMulticastAddDevice cuMulticastBindMem
    cuOccupancyMaxPotentialBlockSize cuOccupancyMaxPotentialBlockSizeWithFlags
    cuPointerGetAttribute cuPointerGetAttributes
    cuProfilerStart cuProfilerStop
    cuStreamAddCallback cuStreamAttachMemAsync cuStreamGetCaptureInfo_v2 cuStreamGetCaptureInfo_v3
    cuStreamUpdateCaptureDependencies cuStreamWaitValue32_v2 cuStreamWriteValue32_v2
    cuTensorMapEncodeIm2col cuTensorMapReplaceAddress
}
