//! Functions that the driver API has and the simulator lacks: each says so once, and refuses.

use crate::boundary::say;
use crate::error::Code;
use std::sync::Once;

/// Functions whose arguments are not looked at, by what it is that is lacking. By the C calling conventions in use, who
/// calls gives arguments room and takes them away: a function may ignore them.
macro_rules! unsupported {
    ($($what:literal: $($name:ident[$($since:tt)*])*;)*) => {
        driver_functions! { @list true
            $($(#[doc = $what] fn $name[$($since)*]() {
                static SAID: Once = Once::new();
                SAID.call_once(|| say(stringify!($name), concat!("is not simulated: ", $what)));
                Err(Code::NotSupported.into())
            })*)*
        }
    };
}

unsupported! {
    "managed memory":
        cuMemAdvise_v2[12020] cuMemAllocManaged[6000] cuMemDiscardAndPrefetchBatchAsync[13000 _ptsz]
        cuMemDiscardBatchAsync[13000 _ptsz] cuMemPrefetchAsync_v2[12020 _ptsz] cuMemPrefetchBatchAsync[13000 _ptsz]
        cuMemRangeGetAttribute[8000] cuMemRangeGetAttributes[8000] cuStreamAttachMemAsync[6000 _ptsz];
    "arrays, textures and surfaces":
        cuArray3DCreate_v2[3020] cuArray3DGetDescriptor_v2[3020] cuArrayCreate_v2[3020] cuArrayDestroy[2000]
        cuArrayGetDescriptor_v2[3020] cuArrayGetMemoryRequirements[11060] cuArrayGetPlane[11020]
        cuArrayGetSparseProperties[11010] cuDeviceGetTexture1DLinearMaxWidth[11010] cuMemMapArrayAsync[11010 _ptsz]
        cuMemcpy3D_v2[3020 _ptds] cuMemcpy3DAsync_v2[3020 _ptsz] cuMemcpy3DBatchAsync_v2[13000 _ptsz]
        cuMemcpy3DPeer[4000 _ptds] cuMemcpy3DPeerAsync[4000 _ptsz] cuMemcpyAtoA_v2[3020 _ptds]
        cuMemcpyAtoD_v2[3020 _ptds] cuMemcpyAtoH_v2[3020 _ptds] cuMemcpyAtoHAsync_v2[3020 _ptsz]
        cuMemcpyDtoA_v2[3020 _ptds] cuMemcpyHtoA_v2[3020 _ptds] cuMemcpyHtoAAsync_v2[3020 _ptsz]
        cuMipmappedArrayCreate[5000] cuMipmappedArrayDestroy[5000] cuMipmappedArrayGetLevel[5000]
        cuMipmappedArrayGetMemoryRequirements[11060] cuMipmappedArrayGetSparseProperties[11010]
        cuModuleGetSurfRef[3000] cuModuleGetTexRef[2000] cuParamSetTexRef[2000] cuSurfObjectCreate[5000]
        cuSurfObjectDestroy[5000] cuSurfObjectGetResourceDesc[5000] cuSurfRefGetArray[3000] cuSurfRefSetArray[3000]
        cuTexObjectCreate[5000] cuTexObjectDestroy[5000] cuTexObjectGetResourceDesc[5000]
        cuTexObjectGetResourceViewDesc[5000] cuTexObjectGetTextureDesc[5000] cuTexRefCreate[2000]
        cuTexRefDestroy[2000] cuTexRefGetAddress_v2[3020] cuTexRefGetAddressMode[2000] cuTexRefGetArray[2000]
        cuTexRefGetBorderColor[8000] cuTexRefGetFilterMode[2000] cuTexRefGetFlags[2000] cuTexRefGetFormat[2000]
        cuTexRefGetMaxAnisotropy[5000] cuTexRefGetMipmapFilterMode[5000] cuTexRefGetMipmapLevelBias[5000]
        cuTexRefGetMipmapLevelClamp[5000] cuTexRefGetMipmappedArray[5000] cuTexRefSetAddress_v2[3020]
        cuTexRefSetAddress2D_v3[4010] cuTexRefSetAddressMode[2000] cuTexRefSetArray[2000]
        cuTexRefSetBorderColor[8000] cuTexRefSetFilterMode[2000] cuTexRefSetFlags[2000] cuTexRefSetFormat[2000]
        cuTexRefSetMaxAnisotropy[5000] cuTexRefSetMipmapFilterMode[5000] cuTexRefSetMipmapLevelBias[5000]
        cuTexRefSetMipmapLevelClamp[5000] cuTexRefSetMipmappedArray[5000];
    "graphics, and memory and semaphores of others":
        cuDestroyExternalMemory[10000] cuDestroyExternalSemaphore[10000] cuDeviceGetLuid[10000]
        cuDeviceGetNvSciSyncAttributes[10020] cuExternalMemoryGetMappedBuffer[10000]
        cuExternalMemoryGetMappedMipmappedArray[10000] cuGraphicsMapResources[3000 _ptsz]
        cuGraphicsResourceGetMappedMipmappedArray[5000] cuGraphicsResourceGetMappedPointer_v2[3020]
        cuGraphicsResourceSetMapFlags_v2[6050] cuGraphicsSubResourceGetMappedArray[3000]
        cuGraphicsUnmapResources[3000 _ptsz] cuGraphicsUnregisterResource[3000] cuImportExternalMemory[10000]
        cuImportExternalSemaphore[10000] cuSignalExternalSemaphoresAsync[10000 _ptsz]
        cuWaitExternalSemaphoresAsync[10000 _ptsz];
    "machine code: PTX text is what runs":
        cuLibraryGetUnifiedFunction[12000] cuModuleLoadFatBinary[2000];
    "multicast addresses":
        cuMulticastAddDevice[12010] cuMulticastBindAddr[12010] cuMulticastBindMem[12010] cuMulticastCreate[12010]
        cuMulticastGetGranularity[12010] cuMulticastUnbind[12010];
    "memory of other processes":
        cuFlushGPUDirectRDMAWrites[11030] cuMemGetHandleForAddressRange[11070] cuMemPoolExportPointer[11020]
        cuMemPoolExportToShareableHandle[11020] cuMemPoolImportFromShareableHandle[11020]
        cuMemPoolImportPointer[11020];
    "memory of the host in kernels":
        cuMemHostGetDevicePointer_v2[3020];
    "im2col tensor maps":
        cuTensorMapEncodeIm2col[12000] cuTensorMapEncodeIm2colWide[12080];
    "parts of a device as contexts":
        cuCtxFromGreenCtx[12040] cuCtxGetDevResource[12040] cuCtxGetExecAffinity[11040] cuCtxRecordEvent[12050]
        cuCtxWaitEvent[12050] cuDevResourceGenerateDesc[12040] cuDevSmResourceSplitByCount[12040]
        cuDeviceGetDevResource[12040] cuGreenCtxCreate[12040] cuGreenCtxDestroy[12040]
        cuGreenCtxGetDevResource[12040] cuGreenCtxGetId[12090] cuGreenCtxRecordEvent[12040]
        cuGreenCtxStreamCreate[12050] cuGreenCtxWaitEvent[12040] cuStreamGetGreenCtx[12040];
    "dumps, checkpoints, logs and notices of a driver":
        cuCheckpointProcessCheckpoint[12080] cuCheckpointProcessGetRestoreThreadId[12080]
        cuCheckpointProcessGetState[12080] cuCheckpointProcessLock[12080] cuCheckpointProcessRestore[12080]
        cuCheckpointProcessUnlock[12080] cuCoredumpGetAttribute[12010] cuCoredumpGetAttributeGlobal[12010]
        cuCoredumpSetAttribute[12010] cuCoredumpSetAttributeGlobal[12010] cuDeviceRegisterAsyncNotification[12040]
        cuDeviceUnregisterAsyncNotification[12040] cuLogsCurrent[12090] cuLogsDumpToFile[12090]
        cuLogsDumpToMemory[12090] cuLogsRegisterCallback[12090] cuLogsUnregisterCallback[12090]
        cuProfilerInitialize[4000];
    "nodes of graphs made, changed or asked about one by one, memory in graphs, conditions":
        cuDeviceGetGraphMemAttribute[11040] cuDeviceGraphMemTrim[11040] cuDeviceSetGraphMemAttribute[11040]
        cuGraphAddBatchMemOpNode[11070] cuGraphAddChildGraphNode[10000] cuGraphAddDependencies_v2[12030]
        cuGraphAddEventRecordNode[11010] cuGraphAddEventWaitNode[11010] cuGraphAddExternalSemaphoresSignalNode[11020]
        cuGraphAddExternalSemaphoresWaitNode[11020] cuGraphAddKernelNode_v2[12000] cuGraphAddMemAllocNode[11040]
        cuGraphAddMemFreeNode[11040] cuGraphAddMemcpyNode[10000] cuGraphAddMemsetNode[10000] cuGraphAddNode_v2[12030]
        cuGraphBatchMemOpNodeGetParams[11070] cuGraphBatchMemOpNodeSetParams[11070]
        cuGraphChildGraphNodeGetGraph[10000] cuGraphConditionalHandleCreate[12030] cuGraphDestroyNode[10000]
        cuGraphEventRecordNodeGetEvent[11010] cuGraphEventRecordNodeSetEvent[11010]
        cuGraphEventWaitNodeGetEvent[11010] cuGraphEventWaitNodeSetEvent[11010]
        cuGraphExecBatchMemOpNodeSetParams[11070] cuGraphExecChildGraphNodeSetParams[11010]
        cuGraphExecEventRecordNodeSetEvent[11010] cuGraphExecEventWaitNodeSetEvent[11010]
        cuGraphExecExternalSemaphoresSignalNodeSetParams[11020] cuGraphExecExternalSemaphoresWaitNodeSetParams[11020]
        cuGraphExecHostNodeSetParams[10020] cuGraphExecKernelNodeSetParams_v2[12000]
        cuGraphExecMemcpyNodeSetParams[10020] cuGraphExecMemsetNodeSetParams[10020] cuGraphExecNodeSetParams[12020]
        cuGraphExternalSemaphoresSignalNodeGetParams[11020] cuGraphExternalSemaphoresSignalNodeSetParams[11020]
        cuGraphExternalSemaphoresWaitNodeGetParams[11020] cuGraphExternalSemaphoresWaitNodeSetParams[11020]
        cuGraphHostNodeGetParams[10000] cuGraphHostNodeSetParams[10000] cuGraphKernelNodeCopyAttributes[11000]
        cuGraphKernelNodeGetAttribute[11000] cuGraphKernelNodeGetParams_v2[12000]
        cuGraphKernelNodeSetAttribute[11000] cuGraphKernelNodeSetParams_v2[12000] cuGraphMemAllocNodeGetParams[11040]
        cuGraphMemFreeNodeGetParams[11040] cuGraphMemcpyNodeGetParams[10000] cuGraphMemcpyNodeSetParams[10000]
        cuGraphMemsetNodeGetParams[10000] cuGraphMemsetNodeSetParams[10000] cuGraphNodeFindInClone[10000]
        cuGraphNodeGetEnabled[11060] cuGraphNodeSetEnabled[11060] cuGraphNodeSetParams[12020]
        cuGraphRemoveDependencies_v2[12030] cuStreamBeginCaptureToGraph[12030 _ptsz];
    "tables that NVIDIA's libraries share":
        cuGetExportTable[3000];
    "atomics between devices, by kind":
        cuDeviceGetHostAtomicCapabilities[13000] cuDeviceGetP2PAtomicCapabilities[13000];
    "several operations in one call":
        cuLaunchCooperativeKernelMultiDevice[9000] cuMemBatchDecompressAsync[12060 _ptsz]
        cuMemcpyBatchAsync_v2[13000 _ptsz] cuStreamBatchMemOp_v2[11070 _ptsz];
    "older forms, which no program asks for by their names alone":
        cuArray3DCreate[2000] cuArray3DGetDescriptor[2000] cuArrayCreate[2000] cuArrayGetDescriptor[2000]
        cuCtxAttach[2000] cuCtxCreate[2000] cuCtxDestroy[2000] cuCtxDetach[2000] cuCtxPopCurrent[2000]
        cuCtxPushCurrent[2000] cuDeviceGetProperties[2000] cuDevicePrimaryCtxRelease[7000]
        cuDevicePrimaryCtxReset[7000] cuDevicePrimaryCtxSetFlags[7000] cuDeviceTotalMem[2000] cuEventDestroy[2000]
        cuFuncSetBlockShape[2000] cuFuncSetSharedSize[2000] cuGraphAddDependencies[10000] cuGraphAddKernelNode[10000]
        cuGraphAddNode[12020] cuGraphExecKernelNodeSetParams[10010] cuGraphExecUpdate[10020]
        cuGraphInstantiate[10000] cuGraphKernelNodeGetParams[10000] cuGraphKernelNodeSetParams[10000]
        cuGraphRemoveDependencies[10000] cuGraphicsResourceGetMappedPointer[3000] cuGraphicsResourceSetMapFlags[3000]
        cuIpcOpenMemHandle[4010] cuLaunch[2000] cuLaunchGrid[2000] cuLaunchGridAsync[2000] cuLinkAddData[5050]
        cuLinkAddFile[5050] cuLinkCreate[5050] cuMemAdvise[8000] cuMemAlloc[2000] cuMemAllocHost[2000]
        cuMemAllocPitch[2000] cuMemFree[2000] cuMemGetAddressRange[2000] cuMemGetInfo[2000]
        cuMemHostGetDevicePointer[2020] cuMemHostRegister[4000] cuMemPrefetchAsync[8000 _ptsz] cuMemcpy2D[2000]
        cuMemcpy2DAsync[2000] cuMemcpy2DUnaligned[2000] cuMemcpy3D[2000] cuMemcpy3DAsync[2000]
        cuMemcpy3DBatchAsync[12080 _ptsz] cuMemcpyAtoA[2000] cuMemcpyAtoD[2000] cuMemcpyAtoH[2000]
        cuMemcpyAtoHAsync[2000] cuMemcpyBatchAsync[12080 _ptsz] cuMemcpyDtoA[2000] cuMemcpyDtoD[2000]
        cuMemcpyDtoDAsync[3000] cuMemcpyDtoH[2000] cuMemcpyDtoHAsync[2000] cuMemcpyHtoA[2000] cuMemcpyHtoAAsync[2000]
        cuMemcpyHtoD[2000] cuMemcpyHtoDAsync[2000] cuMemsetD16[2000] cuMemsetD2D16[2000] cuMemsetD2D32[2000]
        cuMemsetD2D8[2000] cuMemsetD32[2000] cuMemsetD8[2000] cuModuleGetGlobal[2000] cuParamSetSize[2000]
        cuParamSetf[2000] cuParamSeti[2000] cuParamSetv[2000] cuStreamBatchMemOp[8000 _ptsz]
        cuStreamBeginCapture[10000 _ptsz] cuStreamDestroy[2000] cuStreamGetCaptureInfo[10010 _ptsz]
        cuStreamWaitValue32[8000 _ptsz] cuStreamWaitValue64[9000 _ptsz] cuStreamWriteValue32[8000 _ptsz]
        cuStreamWriteValue64[9000 _ptsz] cuTexRefGetAddress[2000] cuTexRefSetAddress[2000] cuTexRefSetAddress2D[2020]
        cuTexRefSetAddress2D_v2[3020];
}
