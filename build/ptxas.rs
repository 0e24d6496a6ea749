//! Reads what `ptxas -v` says about each kernel.

use std::collections::BTreeMap;

/// What one kernel uses on one architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Compute capability, 80 for sm_80 and 90 for sm_90 and sm_90a.
    pub(crate) sm: u32,
    /// Registers a thread.
    pub(crate) registers: u32,
    /// Static shared memory a block, in bytes.
    pub static_shared_bytes: u32,
    /// Bytes that a thread stores and loads again because registers ran out (stores + loads).
    pub(crate) spill_bytes: u32,
    /// Stack frame a thread, in bytes: spills and arrays in local memory.
    pub(crate) local_bytes: u32,
}

/// Kernels by name, each with its architectures in ascending order.
pub(crate) type Instances = BTreeMap<String, Vec<Resources>>;

/// The report and the lines that are not part of it: warnings of the compilers.
pub(crate) fn parse(text: &str) -> Result<(Instances, Vec<String>), String> {
    let mut instances = Instances::new();
    let mut remarks = Vec::new();
    let mut current: Option<(String, u32)> = None;
    // Functions that were not inlined have properties too: only the entry's own lines count.
    let mut inside_entry = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let body = line.strip_prefix("ptxas info").map(|rest| rest.trim_start_matches([' ', ':']));
        if let Some(rest) = body.and_then(|body| body.strip_prefix("Compiling entry function ")) {
            let mut quoted = rest.split('\'');
            let (name, architecture) = (quoted.nth(1), quoted.nth(1));
            let (Some(name), Some(architecture)) = (name, architecture) else {
                return Err(format!("ptxas report not understood: {line}"));
            };
            let digits = architecture.trim_start_matches("sm_").trim_end_matches(['a', 'f']);
            let sm = digits.parse().map_err(|_| format!("ptxas report not understood: {line}"))?;
            instances.entry(name.to_owned()).or_default().push(Resources { sm, ..Resources::default() });
            current = Some((name.to_owned(), sm));
            inside_entry = false;
        } else if let Some(name) = body.and_then(|body| body.strip_prefix("Function properties for ")) {
            inside_entry = current.as_ref().is_some_and(|(entry, _)| entry == name.trim());
        } else if let Some(resources) = latest(&mut instances, current.as_ref()) {
            match body {
                Some(body) if body.starts_with("Used ") => {
                    resources.registers = number_before(body, " registers").unwrap_or(0);
                    resources.static_shared_bytes = number_before(body, " bytes smem").unwrap_or(0);
                }
                Some(_) => {}
                None if line.contains("bytes stack frame") => {
                    if inside_entry {
                        resources.local_bytes = number_before(line, " bytes stack frame").unwrap_or(0);
                        resources.spill_bytes = number_before(line, " bytes spill stores").unwrap_or(0)
                            + number_before(line, " bytes spill loads").unwrap_or(0);
                    }
                }
                None => remarks.push(line.to_owned()),
            }
        } else if body.is_none() {
            remarks.push(line.to_owned());
        }
    }
    for (name, list) in &mut instances {
        list.sort_by_key(|resources| resources.sm);
        if list.iter().any(|resources| resources.registers == 0) {
            return Err(format!("ptxas reported no registers for {name}"));
        }
    }
    Ok((instances, remarks))
}

fn latest<'a>(instances: &'a mut Instances, current: Option<&(String, u32)>) -> Option<&'a mut Resources> {
    instances.get_mut(&current?.0)?.last_mut()
}

/// The number that stands before `unit`: 512 in `used 1 barriers, 512 bytes smem`.
fn number_before(text: &str, unit: &str) -> Option<u32> {
    let before = &text[..text.find(unit)?];
    before.rsplit([' ', ',']).next()?.parse().ok()
}
