//! Modules: PTX text only. What is wrong with it goes to the log that the caller gave, with its line.

use crate::boundary::{Arguments, HostMemory, In, Out, OutOrNull, Text};
use crate::driver::{Driver, driver};
use crate::error::{Code, Error, Result};
use crate::function::{Function, Settings};
use crate::handles::Handle;
use rorqual_sim::Module;
use std::ffi::CString;

/// `CUjit_option`: the logs with their sizes. The other options are about code that is never made.
const INFO_LOG_BUFFER: u32 = 3;
const INFO_LOG_BUFFER_SIZE_BYTES: u32 = 4;
const ERROR_LOG_BUFFER: u32 = 5;
const ERROR_LOG_BUFFER_SIZE_BYTES: u32 = 6;

/// How images begin that hold machine code: an ELF file, and a bundle of several.
const ELF: &[u8] = b"\x7fELF";
const FAT_BINARY: &[u8] = b"\x50\xed\x55\xba";

/// A buffer for messages.
struct Log {
    buffer: HostMemory,
    size_bytes: usize,
    /// Where the size used goes: this number among the values of the options.
    used: usize,
}

impl Log {
    /// The log whose buffer and size are options.
    fn find(options: &[u32], values: Arguments, buffer: u32, size: u32) -> Result<Option<Self>> {
        let position = |wanted| options.iter().position(|option| *option == wanted);
        let (Some(buffer), Some(used)) = (position(buffer), position(size)) else { return Ok(None) };
        // A size stands in the place of a pointer.
        let log = Self { buffer: values.at(buffer)?, size_bytes: values.at(used)?.address(), used };
        Ok(Some(log).filter(|log| log.buffer.address() != 0 && log.size_bytes > 0))
    }

    /// Writes as much as fits, with a 0 at its end.
    fn write(&self, values: Arguments, text: &str) -> Result<()> {
        let kept = text.len().min(self.size_bytes - 1);
        self.buffer.write(kept + 1, |bytes| {
            bytes[..kept].copy_from_slice(&text.as_bytes()[..kept]);
            bytes[kept] = 0;
        })?;
        values.set_number(self.used, kept);
        Ok(())
    }
}

/// The image in a file.
pub fn read_image(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Code::FileNotFound.because(format!("{path}: {error}")))
}

impl Driver {
    /// Loads an image on a device.
    pub fn load(&mut self, image: &[u8], device: u32) -> Result<Module> {
        // A file may end as text in memory does.
        let image = image.split(|byte| *byte == 0).next().unwrap_or_default();
        if image.starts_with(ELF) || image.starts_with(FAT_BINARY) {
            return Err(Code::NoBinaryForGpu.because("the simulator runs PTX text, not machine code"));
        }
        let text = str::from_utf8(image).map_err(|error| Code::InvalidPtx.because(error.to_string()))?;
        Ok(self.simulator.load_on(device, text)?)
    }

    /// Loads an image with the logs that are among the options.
    pub fn load_logged(
        &mut self,
        image: &[u8],
        options: &[u32],
        values: Arguments,
        device: u32,
    ) -> Result<Module> {
        let errors = Log::find(options, values, ERROR_LOG_BUFFER, ERROR_LOG_BUFFER_SIZE_BYTES)?;
        let information = Log::find(options, values, INFO_LOG_BUFFER, INFO_LOG_BUFFER_SIZE_BYTES)?;
        let loaded = self.load(image, device);
        let message = loaded.as_ref().err().and_then(|error| error.message.clone());
        if let Some(log) = &errors {
            log.write(values, message.as_deref().unwrap_or_default())?;
        }
        if let Some(log) = &information {
            log.write(values, &loaded.as_ref().map(describe).unwrap_or_default())?;
        }
        match loaded {
            Err(Error { code, .. }) if errors.is_some() => Err(code.into()),
            loaded => loaded,
        }
    }

    /// Loads an image into the current context.
    fn load_module(&mut self, image: &[u8], options: &[u32], values: Arguments) -> Result<Handle> {
        let current = self.current()?;
        let module = self.load_logged(image, options, values, current.device)?;
        Ok(self.modules.insert(current.context, module))
    }

    /// Unloads a module, with its functions.
    pub fn unload(&mut self, handle: Handle) -> Result<()> {
        let module = self.modules.remove(handle)?;
        self.functions.remove_if(|function| function.module == handle);
        Ok(self.simulator.unload(module)?)
    }

    /// A function of a module; the same handle every time.
    pub fn get_function(&mut self, handle: Handle, name: &str) -> Result<Handle> {
        let context = self.modules.context(handle)?;
        let settings = Settings::new(self.modules.get(handle)?.kernel(name)?);
        let is_it =
            |function: &Function| function.module == handle && function.name.to_bytes() == name.as_bytes();
        if let Some((function, _)) = self.functions.iter().find(|(_, function)| is_it(function)) {
            return Ok(function);
        }
        let name = CString::new(name).map_err(|_| Code::NotFound)?;
        Ok(self.functions.insert(context, Function { module: handle, name, kernel: None, settings }))
    }
}

/// What there is to say of a module that was loaded.
fn describe(module: &Module) -> String {
    let mut text = format!("PTX simulator: {} for {}\n", module.kernels().join(", "), module.target());
    for (line, what) in module.unsupported() {
        text += &format!("line {line}: warning: not simulated: {what}\n");
    }
    text
}

driver_functions! {
    /// PTX text.
    fn cuModuleLoadData[2000](module: Out<Handle>, image: Text) {
        module.set(driver()?.load_module(image.bytes(), &[], Arguments::NULL)?);
        Ok(())
    }

    /// Of the options, the logs have an effect.
    fn cuModuleLoadDataEx[2010](module: Out<Handle>, image: Text, count: u32, options: In<u32>, values: Arguments) {
        let options = options.several(count as usize)?;
        module.set(driver()?.load_module(image.bytes(), &options, values)?);
        Ok(())
    }

    fn cuModuleLoad[2000](module: Out<Handle>, path: Text) {
        let mut driver = driver()?;
        let image = read_image(path.text()?)?;
        module.set(driver.load_module(&image, &[], Arguments::NULL)?);
        Ok(())
    }

    fn cuModuleUnload[2000](module: Handle) {
        let mut driver = driver()?;
        driver.current()?;
        driver.unload(module)
    }

    fn cuModuleGetFunction[2000](function: Out<Handle>, module: Handle, name: Text) {
        let mut driver = driver()?;
        driver.current()?;
        function.set(driver.get_function(module, name.text()?)?);
        Ok(())
    }

    fn cuModuleGetFunctionCount[12040](count: Out<u32>, module: Handle) {
        count.set(driver()?.modules.get(module)?.kernels().len() as u32);
        Ok(())
    }

    fn cuModuleEnumerateFunctions[12040](functions: OutOrNull<Handle>, count: u32, module: Handle) {
        let mut driver = driver()?;
        let names: Vec<String> = driver.modules.get(module)?.kernels().into_iter().map(str::to_owned).collect();
        if count > 0 && functions.is_null() {
            return Err(Code::InvalidValue.into());
        }
        let known = names.iter().take(count as usize).map(|name| driver.get_function(module, name));
        functions.set_several(known.collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    fn cuModuleGetGlobal_v2[3020](address: OutOrNull<u64>, bytes: OutOrNull<usize>, module: Handle, name: Text) {
        let driver = driver()?;
        driver.current()?;
        let (pointer, size) = driver.modules.get(module)?.global(name.text()?).ok_or(Code::NotFound)?;
        address.set(pointer.0);
        bytes.set(size as usize);
        Ok(())
    }

    /// The simulator compiles nothing late.
    fn cuModuleGetLoadingMode[11070](mode: Out<u32>) {
        mode.set(1);
        Ok(())
    }
}
