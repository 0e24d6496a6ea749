//! Since which version of CUDA each function is there; those that are not listed are older than 11.0.

/// The version, and the functions that came with it.
#[rustfmt::skip]
pub(super) const SINCE: &[(i32, &[&str])] = &[
    (11_000, &[
        "cuIpcOpenMemHandle_v2",
    ]),
    (11_030, &[
        "cuStreamGetCaptureInfo_v2",
    ]),
    (11_040, &[
        "cuCtxCreate_v3", "cuDeviceGetUuid_v2",
    ]),
    (11_060, &[
        "cuArrayGetMemoryRequirements", "cuGraphNodeGetEnabled", "cuGraphNodeSetEnabled",
        "cuMipmappedArrayGetMemoryRequirements",
    ]),
    (11_070, &[
        "cuGraphAddBatchMemOpNode", "cuGraphBatchMemOpNodeGetParams", "cuGraphBatchMemOpNodeSetParams",
        "cuGraphExecBatchMemOpNodeSetParams", "cuMemGetHandleForAddressRange", "cuModuleGetLoadingMode",
        "cuStreamBatchMemOp_v2", "cuStreamWaitValue32_v2", "cuStreamWaitValue64_v2",
        "cuStreamWriteValue32_v2", "cuStreamWriteValue64_v2",
    ]),
    (11_080, &[
        "cuLaunchKernelEx", "cuOccupancyMaxActiveClusters", "cuOccupancyMaxPotentialClusterSize",
    ]),
    (12_000, &[
        "cuCtxGetId", "cuGetProcAddress_v2", "cuGraphAddKernelNode_v2", "cuGraphExecGetFlags",
        "cuGraphExecKernelNodeSetParams_v2", "cuGraphExecUpdate_v2", "cuGraphInstantiateWithParams",
        "cuGraphKernelNodeGetParams_v2", "cuGraphKernelNodeSetParams_v2", "cuKernelGetAttribute",
        "cuKernelGetFunction", "cuKernelSetAttribute", "cuKernelSetCacheConfig", "cuLibraryGetGlobal",
        "cuLibraryGetKernel", "cuLibraryGetManaged", "cuLibraryGetModule", "cuLibraryGetUnifiedFunction",
        "cuLibraryLoadData", "cuLibraryLoadFromFile", "cuLibraryUnload", "cuStreamGetId",
        "cuTensorMapEncodeIm2col", "cuTensorMapEncodeTiled", "cuTensorMapReplaceAddress",
    ]),
    (12_010, &[
        "cuCoredumpGetAttribute", "cuCoredumpGetAttributeGlobal", "cuCoredumpSetAttribute",
        "cuCoredumpSetAttributeGlobal", "cuCtxSetFlags", "cuMulticastAddDevice", "cuMulticastBindAddr",
        "cuMulticastBindMem", "cuMulticastCreate", "cuMulticastGetGranularity", "cuMulticastUnbind",
    ]),
    (12_020, &[
        "cuGraphAddNode", "cuGraphExecNodeSetParams", "cuGraphNodeSetParams", "cuMemAdvise_v2",
        "cuMemPrefetchAsync_v2",
    ]),
    (12_030, &[
        "cuFuncGetName", "cuGraphAddDependencies_v2", "cuGraphAddNode_v2", "cuGraphConditionalHandleCreate",
        "cuGraphGetEdges_v2", "cuGraphNodeGetDependencies_v2", "cuGraphNodeGetDependentNodes_v2",
        "cuGraphRemoveDependencies_v2", "cuKernelGetName", "cuStreamBeginCaptureToGraph",
        "cuStreamGetCaptureInfo_v3", "cuStreamUpdateCaptureDependencies_v2",
    ]),
    (12_040, &[
        "cuCtxFromGreenCtx", "cuCtxGetDevResource", "cuDevResourceGenerateDesc",
        "cuDevSmResourceSplitByCount", "cuDeviceGetDevResource", "cuDeviceRegisterAsyncNotification",
        "cuDeviceUnregisterAsyncNotification", "cuFuncGetParamInfo", "cuFuncIsLoaded", "cuFuncLoad",
        "cuGreenCtxCreate", "cuGreenCtxDestroy", "cuGreenCtxGetDevResource", "cuGreenCtxRecordEvent",
        "cuGreenCtxWaitEvent", "cuKernelGetParamInfo", "cuLibraryEnumerateKernels", "cuLibraryGetKernelCount",
        "cuModuleEnumerateFunctions", "cuModuleGetFunctionCount", "cuStreamGetGreenCtx",
    ]),
    (12_050, &[
        "cuCtxCreate_v4", "cuCtxRecordEvent", "cuCtxWaitEvent", "cuGreenCtxStreamCreate",
        "cuKernelGetLibrary", "cuStreamGetCtx_v2",
    ]),
    (12_080, &[
        "cuEventElapsedTime_v2", "cuMemBatchDecompressAsync", "cuMemcpy3DBatchAsync", "cuMemcpyBatchAsync",
        "cuStreamGetDevice", "cuTensorMapEncodeIm2colWide",
    ]),
    (12_090, &[
        "cuLogsCurrent", "cuLogsDumpToFile", "cuLogsDumpToMemory", "cuLogsRegisterCallback",
        "cuLogsUnregisterCallback",
    ]),
    (13_000, &[
        "cuCtxGetDevice_v2", "cuCtxSynchronize_v2", "cuDeviceGetHostAtomicCapabilities",
        "cuDeviceGetP2PAtomicCapabilities", "cuGreenCtxGetId", "cuMemDiscardAndPrefetchBatchAsync",
        "cuMemDiscardBatchAsync", "cuMemGetDefaultMemPool", "cuMemGetMemPool", "cuMemPrefetchBatchAsync",
        "cuMemSetMemPool", "cuMemcpy3DBatchAsync_v2", "cuMemcpyBatchAsync_v2",
    ]),
    (13_010, &[
        "cuDevSmResourceSplit", "cuGraphExecGetId", "cuGraphGetId", "cuGraphNodeGetContainingGraph",
        "cuGraphNodeGetLocalId", "cuGraphNodeGetToolsId", "cuMulticastBindAddr_v2", "cuMulticastBindMem_v2",
        "cuStreamGetDevResource",
    ]),
    (13_020, &[
        "cuCoredumpDeregisterCompleteCallback", "cuCoredumpDeregisterStartCallback",
        "cuCoredumpRegisterCompleteCallback", "cuCoredumpRegisterStartCallback", "cuFuncGetParamCount",
        "cuGraphNodeGetParams", "cuKernelGetParamCount", "cuLaunchHostFunc_v2",
        "cuMemcpy3DWithAttributesAsync", "cuMemcpyWithAttributesAsync", "cuStreamBeginCaptureToCig",
        "cuStreamEndCaptureToCig",
    ]),
    (13_030, &[
        "cuLogicalEndpointAddDevice", "cuLogicalEndpointBindAddr", "cuLogicalEndpointBindMem",
        "cuLogicalEndpointCreate", "cuLogicalEndpointDestroy", "cuLogicalEndpointExport",
        "cuLogicalEndpointGetLimits", "cuLogicalEndpointIdRelease", "cuLogicalEndpointIdReserve",
        "cuLogicalEndpointImport", "cuLogicalEndpointQuery", "cuLogicalEndpointUnbind",
        "cuStreamBeginRecaptureToGraph",
    ]),
    (13_040, &[
        "cuDeviceGetCliqueCount", "cuDeviceGetCliqueInfo", "cuDeviceGetFabricClusterUuid",
        "cuGraphAddNode_v3", "cuGraphNodeSetParams_v2", "cuMemGetLocationInfo",
    ]),
];
