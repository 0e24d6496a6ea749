//! Finding functions of the API by name, as the CUDA runtime does.

use super::{
    abi::{CuResult, In, Out, call},
    error::{Code, Error},
    names,
};
use std::ffi::c_char;

const FOUND: i32 = 0;
const NOT_FOUND: i32 = 1;
const VERSION_NOT_SUFFICIENT: i32 = 2;

/// Functions of which a newer form appeared after CUDA 11.0, and the version it appeared with: a program made for an
/// older one asks for the old form under the same name.
const NEWER_FORMS: &[(&str, i32)] = &[
    ("cuCtxCreate_v3", 11_040),
    ("cuCtxCreate_v4", 12_050),
    ("cuCtxGetDevice_v2", 13_000),
    ("cuCtxSynchronize_v2", 13_000),
    ("cuDeviceGetUuid_v2", 11_040),
    ("cuEventElapsedTime_v2", 12_080),
    ("cuGetProcAddress_v2", 12_000),
    ("cuGraphAddDependencies_v2", 12_030),
    ("cuGraphAddKernelNode_v2", 12_000),
    ("cuGraphAddNode_v2", 12_030),
    ("cuGraphExecKernelNodeSetParams_v2", 12_000),
    ("cuGraphExecUpdate_v2", 12_000),
    ("cuGraphGetEdges_v2", 12_030),
    ("cuGraphKernelNodeGetParams_v2", 12_000),
    ("cuGraphKernelNodeSetParams_v2", 12_000),
    ("cuGraphNodeGetDependencies_v2", 12_030),
    ("cuGraphNodeGetDependentNodes_v2", 12_030),
    ("cuGraphRemoveDependencies_v2", 12_030),
    ("cuIpcOpenMemHandle_v2", 11_000),
    ("cuMemAdvise_v2", 12_020),
    ("cuMemPrefetchAsync_v2", 12_020),
    ("cuMemcpy3DBatchAsync_v2", 13_000),
    ("cuMemcpyBatchAsync_v2", 13_000),
    ("cuStreamBatchMemOp_v2", 11_070),
    ("cuStreamGetCaptureInfo_v2", 11_030),
    ("cuStreamGetCaptureInfo_v3", 12_030),
    ("cuStreamGetCtx_v2", 12_050),
    ("cuStreamUpdateCaptureDependencies_v2", 12_030),
    ("cuStreamWaitValue32_v2", 11_070),
    ("cuStreamWaitValue64_v2", 11_070),
    ("cuStreamWriteValue32_v2", 11_070),
    ("cuStreamWriteValue64_v2", 11_070),
];

/// The newest form of `name` that a program of `version` expects.
fn find(name: &str, version: i32) -> Option<usize> {
    let fits =
        |form: &String| NEWER_FORMS.iter().find(|(newer, _)| newer == form).is_none_or(|(_, since)| version >= *since);
    let forms = ["_v4", "_v3", "_v2", ""].map(|suffix| format!("{name}{suffix}"));
    forms.iter().filter(|form| fits(form)).find_map(|form| names::address(form))
}

fn get(name: In<c_char>, out: Out<usize>, version: i32, status: Option<Out<i32>>) -> Result<(), Error> {
    let name = name.text()?;
    let tell = |value| status.into_iter().for_each(|status| status.set_if_wanted(value));
    if let Some(address) = find(&name, version) {
        tell(FOUND);
        return out.set(address);
    }
    out.set(0)?;
    tell(match find(&name, i32::MAX) {
        Some(_) => VERSION_NOT_SUFFICIENT,
        None => NOT_FOUND,
    });
    Err(Error::new(Code::NOT_FOUND, format!("the driver has no function {name} for CUDA version {version}")))
}

pub extern "C" fn cuGetProcAddress(name: In<c_char>, out: Out<usize>, version: i32, _flags: u64) -> CuResult {
    call(|| get(name, out, version, None))
}

/// With a place for the status a function that does not exist is no error.
pub extern "C" fn cuGetProcAddress_v2(
    name: In<c_char>,
    out: Out<usize>,
    version: i32,
    _flags: u64,
    status: Out<i32>,
) -> CuResult {
    call(|| match get(name, out, version, Some(status)) {
        Err(error) if error.code == Code::NOT_FOUND && !status.is_null() => Ok(()),
        result => result,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_the_form_that_the_version_expects() {
        let same = |asked, version, form| {
            assert_eq!(find(asked, version), names::address(form), "{asked} {version}");
            assert!(names::address(form).is_some(), "{form}");
        };
        same("cuMemAlloc", 11_040, "cuMemAlloc_v2");
        same("cuCtxCreate", 11_000, "cuCtxCreate_v2");
        same("cuCtxCreate", 12_000, "cuCtxCreate_v3");
        same("cuCtxCreate", 13_000, "cuCtxCreate_v4");
        same("cuEventElapsedTime", 12_000, "cuEventElapsedTime");
        same("cuEventElapsedTime", 13_000, "cuEventElapsedTime_v2");
        assert_eq!(find("cuNoSuchFunction", 13_000), None);
    }

    #[test]
    fn every_newer_form_is_a_function_of_the_api() {
        for (form, _) in NEWER_FORMS {
            assert!(names::address(form).is_some(), "{form}");
        }
    }
}
