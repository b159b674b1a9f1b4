//! The linker, for programs that link what they load: one input of PTX text comes out as it went in.

use crate::boundary::{Arguments, HostMemory, In, Out, OutOrNull, Pointer, Text};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::Handle;
use crate::module::read_image;
use std::ffi::CString;

/// `CU_JIT_INPUT_PTX`
const PTX: u32 = 1;

/// A linker: the text that it was given.
#[derive(Debug, Default)]
pub struct Linker {
    text: Option<CString>,
}

impl Driver {
    fn add_input(&mut self, linker: Handle, kind: u32, input: &[u8]) -> Result<()> {
        let linker = self.linkers.get_mut(linker)?;
        if kind != PTX {
            return Err(Code::NotSupported.because("linking of machine code"));
        }
        if linker.text.is_some() {
            return Err(Code::NotSupported.because("linking of several inputs"));
        }
        let text = input.split(|byte| *byte == 0).next().unwrap_or_default();
        linker.text = Some(CString::new(text).map_err(|_| Code::InvalidPtx)?);
        Ok(())
    }
}

driver_functions! {
    fn cuLinkCreate_v2[6050](_count: u32, _options: In<u32>, _values: Arguments, linker: Out<Handle>) {
        let mut driver = driver()?;
        let context = driver.current()?.context;
        linker.set(driver.linkers.insert(context, Linker::default()));
        Ok(())
    }

    /// PTX text, once.
    fn cuLinkAddData_v2[6050](
        linker: Handle, kind: u32, data: HostMemory, bytes: usize, _name: OutOrNull<u8>, _count: u32,
        _options: In<u32>, _values: Arguments,
    ) {
        let input = data.read(bytes, <[u8]>::to_vec)?;
        driver()?.add_input(linker, kind, &input)
    }

    /// PTX text, once.
    fn cuLinkAddFile_v2[6050](
        linker: Handle, kind: u32, path: Text, _count: u32, _options: In<u32>, _values: Arguments,
    ) {
        let mut driver = driver()?;
        driver.linkers.get(linker)?;
        driver.add_input(linker, kind, &read_image(path.text()?)?)
    }

    /// The text that was added, which stays until the linker is destroyed.
    fn cuLinkComplete[5050](linker: Handle, image: Out<Pointer<u8>>, bytes: OutOrNull<usize>) {
        let driver = driver()?;
        let linker = driver.linkers.get(linker)?;
        let text = linker.text.as_ref().ok_or(Code::InvalidValue)?.as_bytes_with_nul();
        image.set(Pointer::to(text));
        bytes.set(text.len());
        Ok(())
    }

    fn cuLinkDestroy[5050](linker: Handle) {
        driver()?.linkers.remove(linker).map(drop)
    }
}
