//! Managed memory: host memory that every device reaches at the same address. It never moves, so that advice about
//! where it should be is kept and reported, and nothing else.

use super::{
    abi::{CuResult, DeviceOrdinal, DevicePointer, Handle, In, Out, call},
    capture, context,
    device::device,
    error::{Code, Error},
    host::{self, Kind},
    location::Location,
    operation::Operation,
    stream,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

const ATTACH_GLOBAL: u32 = 1;
const ATTACH_HOST: u32 = 2;
const ATTACH_SINGLE: u32 = 4;

/// CU_DEVICE_CPU and CU_DEVICE_INVALID.
const CPU: DeviceOrdinal = -1;
const INVALID: DeviceOrdinal = -2;

const LOCATION_DEVICE: u32 = 1;
const LOCATION_HOST: u32 = 2;

/// What is known about a part of managed memory.
#[derive(Clone, Debug, Default, PartialEq)]
struct Advice {
    read_mostly: bool,
    preferred: Option<DeviceOrdinal>,
    accessed_by: BTreeSet<DeviceOrdinal>,
    prefetched: Option<DeviceOrdinal>,
}

/// Advice by parts that do not overlap: start, end, advice. What is in no part has had none.
#[derive(Default)]
struct Parts(BTreeMap<u64, (u64, Advice)>);

static PARTS: Mutex<Parts> = Mutex::new(Parts(BTreeMap::new()));

fn parts() -> MutexGuard<'static, Parts> {
    PARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Parts {
    /// Makes `at` a border between parts.
    fn split(&mut self, at: u64) {
        let part = self.0.range_mut(..at).next_back();
        if let Some((_, (end, advice))) = part.filter(|(_, (end, _))| *end > at) {
            let rest = (*end, advice.clone());
            *end = at;
            self.0.insert(at, rest);
        }
    }

    /// Changes what is known about a range.
    fn change(&mut self, start: u64, end: u64, change: impl Fn(&mut Advice)) {
        self.split(start);
        self.split(end);
        let mut at = start;
        while at < end {
            let next = self.0.range(at..end).next().map_or(end, |(next, _)| *next);
            if next > at {
                self.0.insert(at, (next, Advice::default()));
            }
            let Some((part_end, advice)) = self.0.get_mut(&at) else {
                return;
            };
            change(advice);
            at = *part_end;
        }
    }

    /// All that is known about a range, part by part.
    fn of(&self, start: u64, end: u64) -> Vec<Advice> {
        let mut found = Vec::new();
        let mut at = start;
        while at < end {
            let part = self.0.range(..=at).next_back().filter(|(_, (part_end, _))| *part_end > at);
            match part {
                Some((_, (part_end, advice))) => {
                    found.push(advice.clone());
                    at = *part_end;
                }
                None => {
                    found.push(Advice::default());
                    at = self.0.range(at..end).next().map_or(end, |(next, _)| *next);
                }
            }
        }
        found
    }
}

/// Forgets what was known about freed memory.
pub(super) fn forget(address: DevicePointer, bytes: usize) {
    let mut parts = parts();
    let end = address + bytes as u64;
    parts.split(address);
    parts.split(end);
    parts.0.retain(|start, _| !(address..end).contains(start));
}

pub extern "C" fn cuMemAllocManaged(out: Out<DevicePointer>, bytes: usize, flags: u32) -> CuResult {
    call(|| {
        if !matches!(flags, ATTACH_GLOBAL | ATTACH_HOST) || out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(host::allocate(Kind::Managed, bytes, flags)? as DevicePointer)
    })
}

/// The range as start and end; an error unless it is managed memory.
fn check(address: DevicePointer, bytes: usize) -> Result<(u64, u64), Error> {
    match host::find(address as usize) {
        Some((base, block)) if block.kind == Kind::Managed && bytes <= block.bytes - (address as usize - base) => {
            Ok((address, address + bytes as u64))
        }
        _ => Err(Error::new(Code::INVALID_VALUE, format!("{address:#x}, {bytes} bytes: not managed memory"))),
    }
}

/// A processor that memory can be near to: a device's ordinal or that of the host.
fn processor(ordinal: DeviceOrdinal) -> Result<DeviceOrdinal, Error> {
    if ordinal == CPU { Ok(CPU) } else { Ok(device(ordinal)?.ordinal) }
}

/// A `CUmemLocation` that is passed by value.
fn located(location: u64) -> Result<DeviceOrdinal, Error> {
    match (location as u32, (location >> 32) as i32) {
        (LOCATION_DEVICE, id) => {
            processor(id).and_then(|id| if id == CPU { Err(Code::INVALID_DEVICE.into()) } else { Ok(id) })
        }
        // The host, one of its nodes or the nearest of them: there is one here.
        (2..=4, _) => Ok(CPU),
        _ => Err(Code::INVALID_VALUE.into()),
    }
}

fn advise(address: DevicePointer, bytes: usize, advice: u32, place: Result<DeviceOrdinal, Error>) -> Result<(), Error> {
    context::current()?;
    let (start, end) = check(address, bytes)?;
    // Only three kinds of advice look at the place.
    let place = if matches!(advice, 3 | 5 | 6) { place? } else { CPU };
    let change: &dyn Fn(&mut Advice) = match advice {
        1 => &|known| known.read_mostly = true,
        2 => &|known| known.read_mostly = false,
        3 => &|known| known.preferred = Some(place),
        4 => &|known| known.preferred = None,
        5 => &|known| known.accessed_by.extend([place]),
        6 => &|known| known.accessed_by.retain(|other| *other != place),
        _ => return Err(Code::INVALID_VALUE.into()),
    };
    parts().change(start, end, change);
    Ok(())
}

pub extern "C" fn cuMemAdvise(address: DevicePointer, bytes: usize, advice: u32, place: DeviceOrdinal) -> CuResult {
    call(|| advise(address, bytes, advice, processor(place)))
}

pub extern "C" fn cuMemAdvise_v2(address: DevicePointer, bytes: usize, advice: u32, location: u64) -> CuResult {
    call(|| advise(address, bytes, advice, located(location)))
}

fn prefetch(address: DevicePointer, bytes: usize, place: DeviceOrdinal, on_stream: Handle) -> Result<(), Error> {
    let on = stream::find(on_stream)?;
    let (start, end) = check(address, bytes)?;
    // No node of a graph prefetches.
    capture::refuse_on(&on)?;
    parts().change(start, end, |known| known.prefetched = Some(place));
    Ok(())
}

pub extern "C" fn cuMemPrefetchAsync(
    address: DevicePointer,
    bytes: usize,
    place: DeviceOrdinal,
    on_stream: Handle,
) -> CuResult {
    call(|| prefetch(address, bytes, processor(place)?, on_stream))
}

pub extern "C" fn cuMemPrefetchAsync_v2(
    address: DevicePointer,
    bytes: usize,
    location: u64,
    flags: u32,
    on_stream: Handle,
) -> CuResult {
    call(|| match flags {
        0 => prefetch(address, bytes, located(location)?, on_stream),
        _ => Err(Code::INVALID_VALUE.into()),
    })
}

/// The address and size of each range of a batch, and the place that it goes to.
fn batch(
    addresses: In<DevicePointer>,
    sizes: In<usize>,
    count: usize,
    locations: In<Location>,
    firsts: In<usize>,
    num_locations: usize,
) -> Result<Vec<(DevicePointer, usize, DeviceOrdinal)>, Error> {
    let firsts = firsts.get_all(num_locations)?;
    if count == 0 || firsts.first() != Some(&0) || !firsts.is_sorted() || firsts.iter().any(|first| *first >= count) {
        return Err(Code::INVALID_VALUE.into());
    }
    let locations = locations.get_all(num_locations)?;
    let ranges = addresses.get_all(count)?.into_iter().zip(sizes.get_all(count)?).enumerate();
    let placed = ranges.map(|(position, (address, bytes))| {
        let which = firsts.partition_point(|first| *first <= position) - 1;
        let location = locations[which];
        check(address, bytes)?;
        Ok((address, bytes, located(u64::from(location.id as u32) << 32 | u64::from(location.kind))?))
    });
    placed.collect()
}

pub extern "C" fn cuMemPrefetchBatchAsync(
    addresses: In<DevicePointer>,
    sizes: In<usize>,
    count: usize,
    locations: In<Location>,
    firsts: In<usize>,
    num_locations: usize,
    flags: u64,
    on_stream: Handle,
) -> CuResult {
    call(|| {
        if flags != 0 {
            return Err(Code::INVALID_VALUE.into());
        }
        let placed = batch(addresses, sizes, count, locations, firsts, num_locations)?;
        placed.into_iter().try_for_each(|(address, bytes, place)| prefetch(address, bytes, place, on_stream))
    })
}

/// Checks where a stream's kernels may reach memory; every stream's do.
pub extern "C" fn cuStreamAttachMemAsync(
    on_stream: Handle,
    address: DevicePointer,
    bytes: usize,
    flags: u32,
) -> CuResult {
    call(|| {
        let on = stream::find(on_stream)?;
        if !matches!(flags, ATTACH_GLOBAL | ATTACH_HOST | ATTACH_SINGLE) || (flags == ATTACH_SINGLE && on.is_legacy()) {
            return Err(Code::INVALID_VALUE.into());
        }
        capture::refuse_on(&on)?;
        let (start, _) = check(address, bytes)?;
        // The whole block; 0 bytes stand for it.
        match host::find(start as usize) {
            Some((base, block)) if start == base as u64 && (bytes == 0 || bytes == block.bytes) => {
                stream::enqueue(on_stream, Operation::Empty).map(drop)
            }
            _ => Err(Code::INVALID_VALUE.into()),
        }
    })
}

/// The value that all parts have in common.
fn common<T: PartialEq>(parts: &[Advice], value: impl Fn(&Advice) -> T) -> Option<T> {
    let first = value(parts.first()?);
    parts.iter().all(|part| value(part) == first).then_some(first)
}

/// Writes an attribute of a range: `CU_MEM_RANGE_ATTRIBUTE_*`, by number.
fn write(out: usize, bytes: usize, attribute: u32, known: &[Advice]) -> Result<(), Error> {
    let out = Out::<i32>::from_address(out);
    let place = |value: Option<Option<DeviceOrdinal>>| value.flatten();
    let preferred = || place(common(known, |part| part.preferred));
    let prefetched = || place(common(known, |part| part.prefetched));
    let kind = |place: Option<DeviceOrdinal>| match place {
        None => 0,
        Some(CPU) => LOCATION_HOST as i32,
        Some(_) => LOCATION_DEVICE as i32,
    };
    if attribute == 3 {
        // ACCESSED_BY: a list, filled up.
        if bytes == 0 || !bytes.is_multiple_of(4) {
            return Err(Code::INVALID_VALUE.into());
        }
        let everywhere = common(known, |part| part.accessed_by.clone()).unwrap_or_default();
        let list = everywhere.into_iter().chain(std::iter::repeat(INVALID)).take(bytes / 4);
        return out.set_all(&list.collect::<Vec<_>>());
    }
    if bytes != 4 {
        return Err(Code::INVALID_VALUE.into());
    }
    out.set(match attribute {
        1 => i32::from(known.iter().all(|part| part.read_mostly)), // READ_MOSTLY
        2 => preferred().unwrap_or(INVALID),                       // PREFERRED_LOCATION
        4 => prefetched().unwrap_or(INVALID),                      // LAST_PREFETCH_LOCATION
        5 => kind(preferred()),                                    // PREFERRED_LOCATION_TYPE
        6 => preferred().unwrap_or(0).max(0),                      // PREFERRED_LOCATION_ID
        7 => kind(prefetched()),                                   // LAST_PREFETCH_LOCATION_TYPE
        8 => prefetched().unwrap_or(0).max(0),                     // LAST_PREFETCH_LOCATION_ID
        _ => return Err(Code::INVALID_VALUE.into()),
    })
}

pub extern "C" fn cuMemRangeGetAttribute(
    out: usize,
    out_bytes: usize,
    attribute: u32,
    address: DevicePointer,
    bytes: usize,
) -> CuResult {
    call(|| {
        let (start, end) = check(address, bytes)?;
        let known = parts().of(start, end);
        write(out, out_bytes, attribute, &known)
    })
}

pub extern "C" fn cuMemRangeGetAttributes(
    outs: In<usize>,
    sizes: In<usize>,
    attributes: In<u32>,
    count: usize,
    address: DevicePointer,
    bytes: usize,
) -> CuResult {
    call(|| {
        let (start, end) = check(address, bytes)?;
        let known = parts().of(start, end);
        let outs = outs.get_all(count)?.into_iter().zip(sizes.get_all(count)?);
        let all = outs.zip(attributes.get_all(count)?);
        all.into_iter().try_for_each(|((out, size), attribute)| write(out, size, attribute, &known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_split_where_advice_differs() {
        let mut parts = Parts::default();
        parts.change(100, 200, |advice| advice.read_mostly = true);
        parts.change(150, 300, |advice| advice.preferred = Some(1));
        let of = |start, end| {
            let found = parts.of(start, end);
            found.into_iter().map(|advice| (advice.read_mostly, advice.preferred)).collect::<Vec<_>>()
        };
        assert_eq!(of(100, 150), [(true, None)]);
        assert_eq!(of(50, 350), [(false, None), (true, None), (true, Some(1)), (false, Some(1)), (false, None)]);
        assert_eq!(of(200, 201), [(false, Some(1))]);
        assert_eq!(of(400, 500), [(false, None)]);
    }
}
