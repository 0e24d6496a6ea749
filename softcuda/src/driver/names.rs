//! The names of the driver API: what is implemented, by file, and what is not.
//!
//! Together they are every function that any CUDA version from 11.4 to 13.4 gives a program through `cudarc`.

/// Calls `$callback!` with `module: names;` for every function that is implemented.
#[doc(hidden)]
#[macro_export]
macro_rules! implemented_functions {
    ($callback:ident) => {
        $callback! {
            device:
                cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGet cuDeviceGetName cuDeviceGetUuid
                cuDeviceGetUuid_v2 cuDeviceTotalMem_v2 cuDeviceGetAttribute cuDeviceComputeCapability
                cuDeviceGetPCIBusId cuDeviceGetByPCIBusId cuDeviceGetExecAffinitySupport cuProfilerStart
                cuProfilerStop;
            primary:
                cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxReset_v2
                cuDevicePrimaryCtxGetState cuDevicePrimaryCtxSetFlags_v2;
            context:
                                cuCtxCreate_v2 cuCtxCreate_v3
                cuCtxCreate_v4 cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxPushCurrent_v2
                cuCtxPopCurrent_v2 cuCtxGetDevice cuCtxGetDevice_v2 cuCtxGetId cuCtxGetApiVersion cuCtxGetFlags
                cuCtxSetFlags cuCtxSynchronize cuCtxSynchronize_v2 cuCtxGetLimit cuCtxSetLimit cuCtxGetCacheConfig
                cuCtxSetCacheConfig cuCtxGetSharedMemConfig cuCtxSetSharedMemConfig cuCtxGetStreamPriorityRange
                cuCtxResetPersistingL2Cache;
            error:
                cuGetErrorName cuGetErrorString;
            proc_address:
                cuGetProcAddress cuGetProcAddress_v2;
            module:
                cuModuleLoadData cuModuleLoadDataEx cuModuleLoadFatBinary cuModuleLoad cuModuleUnload
                cuModuleGetFunction cuModuleGetFunctionCount cuModuleEnumerateFunctions cuModuleGetGlobal_v2
                cuModuleGetLoadingMode;
            function:
                cuFuncGetAttribute cuFuncSetAttribute cuFuncSetCacheConfig cuFuncSetSharedMemConfig
                cuFuncGetModule cuFuncGetName cuFuncGetParamCount cuFuncGetParamInfo cuFuncIsLoaded cuFuncLoad;
            library:
                cuLibraryLoadData cuLibraryLoadFromFile cuLibraryUnload cuLibraryGetKernel
                cuLibraryGetKernelCount cuLibraryEnumerateKernels cuLibraryGetModule cuLibraryGetGlobal
                cuLibraryGetManaged cuLibraryGetUnifiedFunction cuKernelGetFunction cuKernelGetLibrary
                cuKernelGetName cuKernelGetAttribute cuKernelSetAttribute cuKernelSetCacheConfig
                cuKernelGetParamInfo cuKernelGetParamCount;
            linker:
                cuLinkCreate_v2 cuLinkAddData_v2 cuLinkAddFile_v2 cuLinkComplete cuLinkDestroy;
            launch:
                cuLaunchKernel cuLaunchCooperativeKernel cuLaunchKernelEx;
            occupancy:
                cuOccupancyMaxActiveBlocksPerMultiprocessor cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags
                cuOccupancyMaxPotentialBlockSize cuOccupancyMaxPotentialBlockSizeWithFlags
                cuOccupancyAvailableDynamicSMemPerBlock cuOccupancyMaxActiveClusters
                cuOccupancyMaxPotentialClusterSize;
            memory:
                cuMemAlloc_v2 cuMemAllocPitch_v2 cuMemFree_v2 cuMemFreeAsync cuMemGetInfo_v2 cuMemGetAddressRange_v2;
            pool:
                cuMemAllocAsync cuMemAllocFromPoolAsync cuDeviceGetDefaultMemPool cuDeviceGetMemPool
                cuDeviceSetMemPool cuMemPoolCreate cuMemPoolDestroy cuMemPoolTrimTo cuMemPoolGetAttribute
                cuMemPoolSetAttribute cuMemPoolGetAccess cuMemGetDefaultMemPool cuMemGetMemPool cuMemSetMemPool
                cuMemPoolSetAccess;
            host:
                cuMemHostAlloc cuMemAllocHost_v2 cuMemFreeHost cuMemHostRegister_v2 cuMemHostUnregister
                cuMemHostGetDevicePointer_v2 cuMemHostGetFlags;
            pointer:
                cuPointerGetAttribute cuPointerGetAttributes cuPointerSetAttribute;
            batch:
                cuMemcpyBatchAsync cuMemcpyBatchAsync_v2 cuMemcpy3DBatchAsync cuMemcpy3DBatchAsync_v2;
            copy:
                cuMemcpy cuMemcpyAsync cuMemcpyHtoD_v2 cuMemcpyHtoDAsync_v2 cuMemcpyDtoH_v2 cuMemcpyDtoHAsync_v2
                cuMemcpyDtoD_v2 cuMemcpyDtoDAsync_v2 cuMemcpyPeer cuMemcpyPeerAsync cuMemcpy2D_v2
                cuMemcpy2DUnaligned_v2 cuMemcpy2DAsync_v2 cuMemcpy3D_v2 cuMemcpy3DAsync_v2 cuMemcpy3DPeer
                cuMemcpy3DPeerAsync;
            fill:
                cuMemsetD8_v2 cuMemsetD8Async cuMemsetD2D8_v2 cuMemsetD2D8Async cuMemsetD16_v2 cuMemsetD16Async
                cuMemsetD2D16_v2 cuMemsetD2D16Async cuMemsetD32_v2 cuMemsetD32Async cuMemsetD2D32_v2
                cuMemsetD2D32Async;
            stream:
                cuStreamCreate cuStreamCreateWithPriority cuStreamDestroy_v2 cuStreamQuery cuStreamSynchronize
                cuStreamGetCtx cuStreamGetCtx_v2 cuStreamGetDevice cuStreamGetFlags cuStreamGetPriority
                cuStreamGetId cuLaunchHostFunc cuStreamAddCallback cuStreamSetAttribute cuStreamGetAttribute
                cuStreamCopyAttributes;
            event:
                cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventRecordWithFlags cuEventQuery cuEventSynchronize
                cuEventElapsedTime cuEventElapsedTime_v2 cuStreamWaitEvent;
            graph:
                cuGraphCreate cuGraphDestroy cuGraphClone cuGraphNodeFindInClone cuGraphDestroyNode cuGraphGetNodes
                cuGraphGetRootNodes cuGraphNodeGetType cuGraphGetId cuGraphNodeGetContainingGraph
                cuGraphNodeGetLocalId cuGraphNodeGetToolsId cuGraphAddEmptyNode cuGraphAddKernelNode
                cuGraphAddKernelNode_v2 cuGraphAddMemcpyNode cuGraphAddMemsetNode cuGraphAddHostNode
                cuGraphAddChildGraphNode cuGraphAddEventRecordNode cuGraphAddEventWaitNode cuGraphAddBatchMemOpNode
                cuGraphAddMemAllocNode cuGraphAddMemFreeNode cuGraphAddNode cuGraphAddNode_v2 cuGraphAddNode_v3
                cuGraphAddDependencies cuGraphAddDependencies_v2 cuGraphRemoveDependencies
                cuGraphRemoveDependencies_v2 cuGraphGetEdges cuGraphGetEdges_v2 cuGraphNodeGetDependencies
                cuGraphNodeGetDependencies_v2 cuGraphNodeGetDependentNodes cuGraphNodeGetDependentNodes_v2
                cuGraphKernelNodeGetParams cuGraphKernelNodeGetParams_v2 cuGraphKernelNodeSetParams
                cuGraphKernelNodeSetParams_v2 cuGraphKernelNodeGetAttribute cuGraphKernelNodeSetAttribute
                cuGraphKernelNodeCopyAttributes cuGraphMemcpyNodeGetParams cuGraphMemcpyNodeSetParams
                cuGraphMemsetNodeGetParams cuGraphMemsetNodeSetParams cuGraphHostNodeGetParams
                cuGraphHostNodeSetParams cuGraphChildGraphNodeGetGraph cuGraphEventRecordNodeGetEvent
                cuGraphEventRecordNodeSetEvent cuGraphEventWaitNodeGetEvent cuGraphEventWaitNodeSetEvent
                cuGraphMemAllocNodeGetParams cuGraphMemFreeNodeGetParams cuGraphBatchMemOpNodeGetParams
                cuGraphBatchMemOpNodeSetParams cuGraphNodeSetParams cuGraphNodeSetParams_v2
                cuDeviceGetGraphMemAttribute cuDeviceSetGraphMemAttribute cuDeviceGraphMemTrim
                cuGraphInstantiateWithFlags cuGraphInstantiate_v2 cuGraphInstantiateWithParams cuGraphExecDestroy
                cuGraphExecGetFlags cuGraphExecGetId cuGraphUpload cuGraphLaunch cuGraphNodeSetEnabled
                cuGraphNodeGetEnabled cuGraphExecUpdate_v2 cuGraphExecUpdate cuGraphExecKernelNodeSetParams
                cuGraphExecKernelNodeSetParams_v2 cuGraphExecMemcpyNodeSetParams cuGraphExecMemsetNodeSetParams
                cuGraphExecHostNodeSetParams cuGraphExecEventRecordNodeSetEvent cuGraphExecEventWaitNodeSetEvent
                cuGraphExecBatchMemOpNodeSetParams cuGraphExecChildGraphNodeSetParams cuGraphExecNodeSetParams
                cuUserObjectCreate cuUserObjectRetain cuUserObjectRelease cuGraphRetainUserObject
                cuGraphReleaseUserObject cuGraphDebugDotPrint;
            capture:
                cuStreamBeginCapture_v2 cuStreamBeginCaptureToGraph cuStreamEndCapture cuStreamIsCapturing
                cuStreamGetCaptureInfo cuStreamGetCaptureInfo_v2 cuStreamGetCaptureInfo_v3
                cuStreamUpdateCaptureDependencies cuStreamUpdateCaptureDependencies_v2
                cuThreadExchangeStreamCaptureMode;
            value:
                cuStreamWaitValue32_v2 cuStreamWaitValue32 cuStreamWaitValue64_v2 cuStreamWaitValue64
                cuStreamWriteValue32_v2 cuStreamWriteValue32 cuStreamWriteValue64_v2 cuStreamWriteValue64
                cuStreamBatchMemOp_v2 cuStreamBatchMemOp;
            virtual_memory:
                cuMemGetAllocationGranularity cuMemCreate cuMemRelease cuMemRetainAllocationHandle
                cuMemGetAllocationPropertiesFromHandle cuMemAddressReserve cuMemAddressFree cuMemMap cuMemUnmap
                cuMemSetAccess cuMemGetAccess;
            managed:
                cuMemAllocManaged cuMemAdvise cuMemAdvise_v2 cuMemPrefetchAsync cuMemPrefetchAsync_v2
                cuMemPrefetchBatchAsync cuStreamAttachMemAsync cuMemRangeGetAttribute cuMemRangeGetAttributes;
            peer:
                cuDeviceCanAccessPeer cuDeviceGetP2PAttribute cuCtxEnablePeerAccess cuCtxDisablePeerAccess;
        }
    };
}

/// Calls `$callback!` with the names of the functions that return CUDA_ERROR_NOT_SUPPORTED.
#[doc(hidden)]
#[macro_export]
macro_rules! unsupported_functions {
    ($callback:ident) => {
        $callback! {
            cuArray3DCreate_v2 cuArray3DGetDescriptor_v2 cuArrayCreate_v2 cuArrayDestroy cuArrayGetDescriptor_v2
            cuArrayGetMemoryRequirements cuArrayGetPlane cuArrayGetSparseProperties
            cuCoredumpDeregisterCompleteCallback cuCoredumpDeregisterStartCallback cuCoredumpGetAttribute
            cuCoredumpGetAttributeGlobal cuCoredumpRegisterCompleteCallback cuCoredumpRegisterStartCallback
            cuCoredumpSetAttribute cuCoredumpSetAttributeGlobal cuCtxAttach cuCtxDetach cuCtxFromGreenCtx
            cuCtxGetDevResource cuCtxGetExecAffinity cuCtxRecordEvent cuCtxWaitEvent cuDestroyExternalMemory
            cuDestroyExternalSemaphore cuDevResourceGenerateDesc cuDevSmResourceSplit cuDevSmResourceSplitByCount
            cuDeviceGetCliqueCount cuDeviceGetCliqueInfo cuDeviceGetDevResource cuDeviceGetFabricClusterUuid
            cuDeviceGetHostAtomicCapabilities cuDeviceGetLuid cuDeviceGetP2PAtomicCapabilities cuDeviceGetProperties
            cuDeviceGetTexture1DLinearMaxWidth cuDeviceRegisterAsyncNotification cuDeviceUnregisterAsyncNotification
            cuExternalMemoryGetMappedBuffer cuExternalMemoryGetMappedMipmappedArray cuFlushGPUDirectRDMAWrites
            cuFuncSetBlockShape cuFuncSetSharedSize cuGetExportTable cuGraphAddExternalSemaphoresSignalNode
            cuGraphAddExternalSemaphoresWaitNode cuGraphConditionalHandleCreate
            cuGraphExecExternalSemaphoresSignalNodeSetParams cuGraphExecExternalSemaphoresWaitNodeSetParams
            cuGraphExternalSemaphoresSignalNodeGetParams cuGraphExternalSemaphoresSignalNodeSetParams
            cuGraphExternalSemaphoresWaitNodeGetParams cuGraphExternalSemaphoresWaitNodeSetParams
            cuGraphNodeGetParams cuGraphicsMapResources cuGraphicsResourceGetMappedMipmappedArray
            cuGraphicsResourceGetMappedPointer_v2 cuGraphicsResourceSetMapFlags_v2
            cuGraphicsSubResourceGetMappedArray cuGraphicsUnmapResources cuGraphicsUnregisterResource
            cuGreenCtxCreate cuGreenCtxDestroy cuGreenCtxGetDevResource cuGreenCtxGetId cuGreenCtxRecordEvent
            cuGreenCtxStreamCreate cuGreenCtxWaitEvent cuImportExternalMemory cuImportExternalSemaphore
            cuIpcCloseMemHandle cuIpcGetEventHandle cuIpcGetMemHandle cuIpcOpenEventHandle cuIpcOpenMemHandle_v2
            cuLaunch cuLaunchCooperativeKernelMultiDevice cuLaunchGrid cuLaunchGridAsync cuLaunchHostFunc_v2
            cuLogicalEndpointAddDevice cuLogicalEndpointBindAddr cuLogicalEndpointBindMem cuLogicalEndpointCreate
            cuLogicalEndpointDestroy cuLogicalEndpointExport cuLogicalEndpointGetLimits cuLogicalEndpointIdRelease
            cuLogicalEndpointIdReserve cuLogicalEndpointImport cuLogicalEndpointQuery cuLogicalEndpointUnbind
            cuLogsCurrent cuLogsDumpToFile cuLogsDumpToMemory cuLogsRegisterCallback cuLogsUnregisterCallback
            cuMemBatchDecompressAsync cuMemDiscardAndPrefetchBatchAsync cuMemDiscardBatchAsync
            cuMemExportToShareableHandle cuMemGetHandleForAddressRange cuMemGetLocationInfo
            cuMemImportFromShareableHandle cuMemMapArrayAsync cuMemPoolExportPointer
            cuMemPoolExportToShareableHandle cuMemPoolImportFromShareableHandle cuMemPoolImportPointer
            cuMemcpy3DWithAttributesAsync cuMemcpyAtoA_v2
            cuMemcpyAtoD_v2 cuMemcpyAtoHAsync_v2 cuMemcpyAtoH_v2             cuMemcpyDtoA_v2 cuMemcpyHtoAAsync_v2 cuMemcpyHtoA_v2 cuMemcpyWithAttributesAsync cuMipmappedArrayCreate
            cuMipmappedArrayDestroy cuMipmappedArrayGetLevel cuMipmappedArrayGetMemoryRequirements
            cuMipmappedArrayGetSparseProperties cuModuleGetSurfRef cuModuleGetTexRef cuMulticastAddDevice
            cuMulticastBindAddr cuMulticastBindAddr_v2 cuMulticastBindMem cuMulticastBindMem_v2 cuMulticastCreate
            cuMulticastGetGranularity cuMulticastUnbind cuParamSetSize cuParamSetTexRef cuParamSetf cuParamSeti
            cuParamSetv cuProfilerInitialize cuSignalExternalSemaphoresAsync cuStreamBeginCaptureToCig
            cuStreamBeginRecaptureToGraph cuStreamEndCaptureToCig cuStreamGetDevResource cuStreamGetGreenCtx
            cuSurfObjectCreate cuSurfObjectDestroy cuSurfObjectGetResourceDesc cuSurfRefGetArray cuSurfRefSetArray
            cuTensorMapEncodeIm2col cuTensorMapEncodeIm2colWide cuTensorMapEncodeTiled cuTensorMapReplaceAddress
            cuTexObjectCreate cuTexObjectDestroy cuTexObjectGetResourceDesc cuTexObjectGetResourceViewDesc
            cuTexObjectGetTextureDesc cuTexRefCreate cuTexRefDestroy cuTexRefGetAddressMode cuTexRefGetAddress_v2
            cuTexRefGetArray cuTexRefGetBorderColor cuTexRefGetFilterMode cuTexRefGetFlags cuTexRefGetFormat
            cuTexRefGetMaxAnisotropy cuTexRefGetMipmapFilterMode cuTexRefGetMipmapLevelBias
            cuTexRefGetMipmapLevelClamp cuTexRefGetMipmappedArray cuTexRefSetAddress2D_v3 cuTexRefSetAddressMode
            cuTexRefSetAddress_v2 cuTexRefSetArray cuTexRefSetBorderColor cuTexRefSetFilterMode cuTexRefSetFlags
            cuTexRefSetFormat cuTexRefSetMaxAnisotropy cuTexRefSetMipmapFilterMode cuTexRefSetMipmapLevelBias
            cuTexRefSetMipmapLevelClamp cuTexRefSetMipmappedArray cuWaitExternalSemaphoresAsync
        }
    };
}

macro_rules! table_of_implemented {
    ($($module:ident: $($name:ident)*;)*) => {
        &[$($((stringify!($name), || super::$module::$name as *const () as usize),)*)*]
    };
}

macro_rules! table_of_unsupported {
    ($($name:ident)*) => {
        &[$((stringify!($name), || super::unsupported::$name as *const () as usize),)*]
    };
}

/// A name and its function's address, which is known only at run time.
type Entry = (&'static str, fn() -> usize);

static IMPLEMENTED: &[Entry] = implemented_functions!(table_of_implemented);
static UNSUPPORTED: &[Entry] = unsupported_functions!(table_of_unsupported);

/// Every function and its address.
pub(crate) fn functions() -> Vec<(&'static str, usize)> {
    let all = IMPLEMENTED.iter().chain(UNSUPPORTED);
    all.map(|(name, address)| (*name, address())).collect()
}

/// The address of one function.
pub(super) fn address(name: &str) -> Option<usize> {
    let mut all = IMPLEMENTED.iter().chain(UNSUPPORTED);
    all.find(|(known, _)| *known == name).map(|(_, address)| address())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_is_listed_twice() {
        let names: BTreeSet<_> = functions().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), IMPLEMENTED.len() + UNSUPPORTED.len());
    }
}
