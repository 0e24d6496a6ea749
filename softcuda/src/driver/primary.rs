//! Primary contexts: the one of each device that libraries share.

use super::{
    abi::{CuResult, DeviceOrdinal, Handle, Out, call},
    context::Context,
    device::device,
    error::{Code, Error},
};
use std::sync::{Arc, MutexGuard, PoisonError, atomic::Ordering};

/// The primary context of a device.
#[derive(Default)]
pub(super) struct Primary {
    context: Option<Arc<Context>>,
    retained: usize,
    flags: u32,
}

fn primary(ordinal: DeviceOrdinal) -> Result<MutexGuard<'static, Primary>, Error> {
    Ok(device(ordinal)?.primary.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Works in the primary context of a device, which lives at least as long.
pub(super) fn with_primary<T>(
    ordinal: DeviceOrdinal,
    work: impl FnOnce(&Arc<Context>) -> Result<T, Error>,
) -> Result<T, Error> {
    let context = {
        let mut primary = primary(ordinal)?;
        let device = device(ordinal)?;
        let flags = primary.flags;
        primary.retained += 1;
        primary.context.get_or_insert_with(|| Context::create(device, flags)).clone()
    };
    let result = context.check().and_then(|()| work(&context));
    release(ordinal)?;
    result
}

fn release(ordinal: DeviceOrdinal) -> Result<(), Error> {
    let mut primary = primary(ordinal)?;
    if primary.retained == 0 {
        return Err(Code::INVALID_CONTEXT.into());
    }
    primary.retained -= 1;
    if primary.retained == 0
        && let Some(context) = primary.context.take()
    {
        context.destroy();
    }
    Ok(())
}

pub extern "C" fn cuDevicePrimaryCtxRetain(out: Out<Handle>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let mut primary = primary(ordinal)?;
        let device = device(ordinal)?;
        let flags = primary.flags;
        let context = primary.context.get_or_insert_with(|| Context::create(device, flags));
        out.set(context.handle)?;
        primary.retained += 1;
        Ok(())
    })
}

pub extern "C" fn cuDevicePrimaryCtxRelease_v2(ordinal: DeviceOrdinal) -> CuResult {
    call(|| release(ordinal))
}

pub extern "C" fn cuDevicePrimaryCtxReset_v2(ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let mut primary = primary(ordinal)?;
        primary.retained = 0;
        if let Some(context) = primary.context.take() {
            context.destroy();
        }
        Ok(())
    })
}

pub extern "C" fn cuDevicePrimaryCtxGetState(ordinal: DeviceOrdinal, flags: Out<u32>, active: Out<i32>) -> CuResult {
    call(|| {
        let primary = primary(ordinal)?;
        flags.set(primary.flags)?;
        active.set(i32::from(primary.context.is_some()))
    })
}

pub extern "C" fn cuDevicePrimaryCtxSetFlags_v2(ordinal: DeviceOrdinal, flags: u32) -> CuResult {
    call(|| {
        let mut primary = primary(ordinal)?;
        primary.flags = flags;
        if let Some(context) = &primary.context {
            context.flags.store(flags, Ordering::Relaxed);
        }
        Ok(())
    })
}
