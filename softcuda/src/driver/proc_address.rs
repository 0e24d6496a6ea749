//! Finding functions of the API by name, as the CUDA runtime does.

use super::{
    abi::{CuResult, In, Out, call},
    error::{Code, Error},
    names,
    versions::SINCE,
};
use std::ffi::c_char;

const FOUND: i32 = 0;
const NOT_FOUND: i32 = 1;
const VERSION_NOT_SUFFICIENT: i32 = 2;

/// The newest form of `name` that a program of `version` expects.
fn find(name: &str, version: i32) -> Option<usize> {
    let fits = |form: &String| {
        let since = SINCE.iter().find(|(_, names)| names.contains(&form.as_str()));
        since.is_none_or(|(since, _)| version >= *since)
    };
    let forms = ["_v4", "_v3", "_v2", ""].map(|suffix| format!("{name}{suffix}"));
    forms.iter().filter(|form| fits(form)).find_map(|form| names::address(form))
}

/// The default, legacy and per-thread default streams: work that is asked for ends before the call does on each of them, so
/// that their functions are the same.
const LAST_FLAG: u64 = 2;

fn get(name: In<c_char>, out: Out<usize>, version: i32, flags: u64, status: Option<Out<i32>>) -> Result<(), Error> {
    if flags > LAST_FLAG {
        return Err(Code::INVALID_VALUE.into());
    }
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

pub extern "C" fn cuGetProcAddress(name: In<c_char>, out: Out<usize>, version: i32, flags: u64) -> CuResult {
    call(|| get(name, out, version, flags, None))
}

/// With a place for the status a function that does not exist is no error.
pub extern "C" fn cuGetProcAddress_v2(
    name: In<c_char>,
    out: Out<usize>,
    version: i32,
    flags: u64,
    status: Out<i32>,
) -> CuResult {
    call(|| match get(name, out, version, flags, Some(status)) {
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
    fn functions_that_came_later_are_not_there_for_older_programs() {
        for (since, names) in SINCE {
            for name in *names {
                assert!(names::address(name).is_some(), "{name}");
                assert_eq!(find(name, *since), names::address(name), "{name}");
                assert_ne!(find(name, since - 10), names::address(name), "{name}");
            }
        }
        assert_eq!(find("cuLibraryLoadData", 11_080), None);
        assert!(find("cuLibraryLoadData", 12_000).is_some());
    }
}
