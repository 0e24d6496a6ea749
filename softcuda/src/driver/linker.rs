//! Linking PTX: several texts to one image.
//!
//! The image is PTX text, since that is what runs here, and modules and libraries load it as they load any.

use super::{
    abi::{CuResult, Handle, In, Out, call},
    context::{self, Context},
    error::{Code, Error},
    jit::Options,
    module, source,
    table::{Table, new_handle},
};
use crate::{
    container::Format,
    ptx::{self, link},
};
use std::{
    ffi::c_char,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// A link on its way.
struct Link {
    context: Arc<Context>,
    options: Options,
    start: Instant,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    inputs: Vec<link::Input>,
    information: Vec<String>,
    errors: String,
    /// The result, which the caller may read until the link is destroyed.
    image: Option<Vec<u8>>,
}

static LINKS: Table<Link> = Table::new();

impl Link {
    /// Works on the link and tells the caller's buffers what came of it.
    fn with(&self, step: impl FnOnce(&mut Work) -> Result<(), Error>) -> Result<(), Error> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut work);
        if let Err(error) = &result
            && let Some(text) = error.text()
        {
            work.errors.push_str(text);
            work.errors.push('\n');
        }
        self.options.report(self.start, &work.information, &work.errors);
        result
    }

    fn add(&self, kind: u32, image: &[u8], name: &str) -> Result<(), Error> {
        self.with(|work| {
            if work.image.is_some() {
                return Err(Error::new(Code::INVALID_VALUE, "the link is complete already"));
            }
            check_kind(kind, image)?;
            let chip = self.context.device.chip;
            let source = source::read(image, chip)?;
            let with_name = |error: Error| error.within(name);
            let tree = module::parse(&source.ptx).map_err(with_name)?;
            module::check_target(&tree, chip).map_err(with_name)?;
            work.information.push(format!(
                "`{name}`: {} functions, {} variables",
                tree.functions.len(),
                tree.variables.len()
            ));
            work.inputs.push((name.to_owned(), tree));
            Ok(())
        })
    }
}

/// An error for what cannot be linked here.
fn check_kind(kind: u32, image: &[u8]) -> Result<(), Error> {
    const CUBIN: u32 = 0;
    const PTX: u32 = 1;
    const FATBIN: u32 = 2;
    const OTHERS: [&str; 3] = ["host objects", "libraries", "intermediate code of NVVM"];
    let first = image.first_chunk::<4>().copied().unwrap_or_default();
    match (kind, Format::of(first)) {
        // A cubin is machine code, or what an earlier link made.
        (CUBIN, Format::Text | Format::Cubin) | (PTX, Format::Text) | (FATBIN, Format::Fatbin) => Ok(()),
        (CUBIN..=FATBIN, _) => Err(Error::report(Code::INVALID_IMAGE, "the image is not of the kind that is said")),
        (kind, _) => Err(match OTHERS.get(kind as usize - 3) {
            Some(what) => Error::report(Code::NOT_SUPPORTED, format!("{what} cannot be linked, only PTX")),
            None => Code::INVALID_VALUE.into(),
        }),
    }
}

pub extern "C" fn cuLinkCreate_v2(
    num_options: u32,
    options: In<u32>,
    values: Out<usize>,
    out: Out<Handle>,
) -> CuResult {
    call(|| {
        let context = context::current()?;
        let options = Options::read(num_options, options, values)?;
        options.check_target(context.device.chip)?;
        let handle = new_handle();
        out.set(handle)?;
        LINKS.insert(handle, Arc::new(Link { context, options, start: Instant::now(), work: Mutex::default() }));
        Ok(())
    })
}

pub extern "C" fn cuLinkAddData_v2(
    link: Handle,
    kind: u32,
    data: In<u8>,
    bytes: usize,
    name: In<c_char>,
    num_options: u32,
    options: In<u32>,
    values: Out<usize>,
) -> CuResult {
    call(|| {
        let link = LINKS.get(link)?;
        Options::read(num_options, options, values)?.check_target(link.context.device.chip)?;
        let name = if name.is_null() { "<unnamed>".to_owned() } else { name.text()? };
        link.add(kind, &data.get_all(bytes)?, &name)
    })
}

pub extern "C" fn cuLinkAddFile_v2(
    link: Handle,
    kind: u32,
    path: In<c_char>,
    num_options: u32,
    options: In<u32>,
    values: Out<usize>,
) -> CuResult {
    call(|| {
        let link = LINKS.get(link)?;
        Options::read(num_options, options, values)?.check_target(link.context.device.chip)?;
        let path = path.text()?;
        link.add(kind, &module::read_file(&path)?, &path)
    })
}

/// Undefined and multiply defined symbols are CUDA_ERROR_UNKNOWN, as from NVIDIA's driver, with a line each in the error log.
pub extern "C" fn cuLinkComplete(link: Handle, image: Out<usize>, bytes: Out<usize>) -> CuResult {
    call(|| {
        let link = LINKS.get(link)?;
        link.with(|work| {
            if work.image.is_none() {
                let tree =
                    link::link(&work.inputs).map_err(|errors| Error::report(Code::UNKNOWN, errors.join("\n")))?;
                let mut text = ptx::print(&tree).into_bytes();
                // Whoever loads it as an image without a length finds its end.
                text.push(0);
                work.image = Some(text);
            }
            let Some(text) = &work.image else { return Err(Code::INVALID_VALUE.into()) };
            image.set(text.as_ptr() as usize)?;
            bytes.set_if_wanted(text.len());
            Ok(())
        })
    })
}

pub extern "C" fn cuLinkDestroy(link: Handle) -> CuResult {
    call(|| LINKS.remove(link).map(drop))
}
