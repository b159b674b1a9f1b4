//! Libraries: modules that are loaded into each context when it first needs them, and their kernels, which are functions of
//! any context.

use crate::boundary::{Arguments, In, Out, OutOrNull, Pointer, Text};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::function::{Settings, name_of, parameter};
use crate::handles::Handle;
use crate::module::read_image;
use rorqual_sim::Module;
use rorqual_sim::program::KernelInfo;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char};

/// A library.
#[derive(Debug)]
pub struct Library {
    image: Vec<u8>,
    /// What the image holds; its variables are gone, those of a context are its module's.
    contents: Module,
    /// The modules, by context.
    modules: BTreeMap<Handle, Handle>,
    /// The kernels in the order of their names.
    kernels: Vec<Handle>,
}

/// A kernel of a library.
#[derive(Debug)]
pub struct Kernel {
    library: Handle,
    name: CString,
    /// What was asked for it, by device.
    settings: BTreeMap<u32, Settings>,
}

impl Driver {
    fn load_library(&mut self, image: &[u8], options: &[u32], values: Arguments) -> Result<Handle> {
        // A context that is current has the module at once; without one it is only looked at.
        let current = self.current().ok();
        let device = current.map_or(0, |current| current.device);
        let module = self.load_logged(image, options, values, device)?;
        let contents = module.clone();
        let mut modules = BTreeMap::new();
        match current {
            Some(current) => {
                _ = modules.insert(current.context, self.modules.insert(current.context, module))
            }
            None => self.simulator.unload(module)?,
        }
        let names: Vec<String> = contents.kernels().into_iter().map(str::to_owned).collect();
        let library = Library { image: image.to_vec(), contents, modules, kernels: Vec::new() };
        let library = self.libraries.insert(Handle::NULL, library);
        for name in names {
            let name = CString::new(name).map_err(|_| Code::InvalidPtx)?;
            let kernel = Kernel { library, name, settings: BTreeMap::new() };
            let kernel = self.kernels.insert(Handle::NULL, kernel);
            self.libraries.get_mut(library)?.kernels.push(kernel);
        }
        Ok(library)
    }

    fn unload_library(&mut self, handle: Handle) -> Result<()> {
        let library = self.libraries.remove(handle)?;
        for kernel in library.kernels {
            self.kernels.remove(kernel)?;
        }
        for module in library.modules.into_values() {
            // A context may have gone with its module.
            if self.modules.get(module).is_ok() {
                self.unload(module)?;
            }
        }
        Ok(())
    }

    /// The module of a library in the current context.
    fn module_of(&mut self, handle: Handle) -> Result<Handle> {
        let current = self.current()?;
        let library = self.libraries.get(handle)?;
        if let Some(module) = library.modules.get(&current.context)
            && self.modules.get(*module).is_ok()
        {
            return Ok(*module);
        }
        let image = library.image.clone();
        let module = self.load(&image, current.device)?;
        let module = self.modules.insert(current.context, module);
        self.libraries.get_mut(handle)?.modules.insert(current.context, module);
        Ok(module)
    }

    fn library_kernel(&self, library: Handle, name: &str) -> Result<Handle> {
        let mut kernels = self.libraries.get(library)?.kernels.iter();
        let named = |kernel: &&Handle| {
            self.kernels.get(**kernel).is_ok_and(|kernel| kernel.name.to_bytes() == name.as_bytes())
        };
        kernels.find(named).copied().ok_or_else(|| Code::NotFound.because(format!("no kernel `{name}`")))
    }

    /// A kernel with what its library says of it.
    fn kernel_of_library(&self, handle: Handle) -> Result<(&Kernel, &Library, &KernelInfo)> {
        let kernel = self.kernels.get(handle)?;
        let library = self.libraries.get(kernel.library)?;
        Ok((kernel, library, library.contents.kernel(name_of(&kernel.name)?)?))
    }

    /// The function that a handle is, or that a kernel of a library is in the current context.
    pub fn function(&mut self, handle: Handle) -> Result<Handle> {
        let Ok(kernel) = self.kernels.get(handle) else { return self.functions.get(handle).map(|_| handle) };
        let (library, name) = (kernel.library, kernel.name.clone());
        let device = self.current()?.device;
        let module = self.module_of(library)?;
        let function = self.get_function(module, name_of(&name)?)?;
        let settings = self.kernels.get(handle)?.settings.get(&device).copied();
        let found = self.functions.get_mut(function)?;
        if found.kernel.is_none() {
            found.kernel = Some(handle);
            found.settings = settings.unwrap_or(found.settings);
        }
        Ok(function)
    }

    fn kernel_attribute(&self, handle: Handle, attribute: u32, device: i32) -> Result<i32> {
        let device = self.device(device)?;
        let (kernel, library, info) = self.kernel_of_library(handle)?;
        let settings = kernel.settings.get(&device).copied().unwrap_or_else(|| Settings::new(info));
        settings.get(&library.contents, info, self.arch(), attribute)
    }

    /// Sets an attribute of a kernel in all contexts of a device, now and later.
    fn set_kernel_attribute(
        &mut self,
        handle: Handle,
        attribute: u32,
        value: i32,
        device: i32,
    ) -> Result<()> {
        let device = self.device(device)?;
        let most = self.simulator.limits().shared_bytes;
        let (kernel, _, info) = self.kernel_of_library(handle)?;
        let info = info.clone();
        let mut settings = kernel.settings.get(&device).copied().unwrap_or_else(|| Settings::new(&info));
        settings.set(&info, most, attribute, value)?;
        self.kernels.get_mut(handle)?.settings.insert(device, settings);
        let functions: Vec<Handle> = self
            .functions
            .iter()
            .filter(|(_, function)| function.kernel == Some(handle))
            .map(|(function, _)| function)
            .collect();
        for function in functions {
            if self.contexts.device(self.functions.context(function)?)? == device {
                self.functions.get_mut(function)?.settings.set(&info, most, attribute, value)?;
            }
        }
        Ok(())
    }
}

driver_functions! {
    /// PTX text. Options of libraries have no effect.
    fn cuLibraryLoadData[12000](
        library: Out<Handle>, image: Text, options: In<u32>, values: Arguments, count: u32,
        _library_options: In<u32>, _library_values: Arguments, _library_count: u32,
    ) {
        let options = options.several(count as usize)?;
        library.set(driver()?.load_library(image.bytes(), &options, values)?);
        Ok(())
    }

    fn cuLibraryLoadFromFile[12000](
        library: Out<Handle>, path: Text, options: In<u32>, values: Arguments, count: u32,
        _library_options: In<u32>, _library_values: Arguments, _library_count: u32,
    ) {
        let options = options.several(count as usize)?;
        let mut driver = driver()?;
        let image = read_image(path.text()?)?;
        library.set(driver.load_library(&image, &options, values)?);
        Ok(())
    }

    fn cuLibraryUnload[12000](library: Handle) {
        driver()?.unload_library(library)
    }

    fn cuLibraryGetKernel[12000](kernel: Out<Handle>, library: Handle, name: Text) {
        kernel.set(driver()?.library_kernel(library, name.text()?)?);
        Ok(())
    }

    fn cuLibraryGetKernelCount[12040](count: Out<u32>, library: Handle) {
        count.set(driver()?.libraries.get(library)?.kernels.len() as u32);
        Ok(())
    }

    fn cuLibraryEnumerateKernels[12040](kernels: OutOrNull<Handle>, count: u32, library: Handle) {
        let driver = driver()?;
        let known = &driver.libraries.get(library)?.kernels;
        if count > 0 && kernels.is_null() {
            return Err(Code::InvalidValue.into());
        }
        kernels.set_several(known.iter().copied().take(count as usize));
        Ok(())
    }

    fn cuLibraryGetModule[12000](module: Out<Handle>, library: Handle) {
        module.set(driver()?.module_of(library)?);
        Ok(())
    }

    fn cuLibraryGetGlobal[12000](address: OutOrNull<u64>, bytes: OutOrNull<usize>, library: Handle, name: Text) {
        let mut driver = driver()?;
        let module = driver.module_of(library)?;
        let (pointer, size) = driver.modules.get(module)?.global(name.text()?).ok_or(Code::NotFound)?;
        address.set(pointer.0);
        bytes.set(size as usize);
        Ok(())
    }

    /// There is no managed memory.
    fn cuLibraryGetManaged[12000](_address: OutOrNull<u64>, _bytes: OutOrNull<usize>, library: Handle, _name: Text) {
        driver()?.libraries.get(library)?;
        Err(Code::NotFound.into())
    }

    fn cuKernelGetFunction[12000](function: Out<Handle>, kernel: Handle) {
        let mut driver = driver()?;
        driver.kernels.get(kernel)?;
        function.set(driver.function(kernel)?);
        Ok(())
    }

    fn cuKernelGetLibrary[12050](library: Out<Handle>, kernel: Handle) {
        library.set(driver()?.kernels.get(kernel)?.library);
        Ok(())
    }

    fn cuKernelGetAttribute[12000](value: Out<i32>, attribute: u32, kernel: Handle, device: i32) {
        value.set(driver()?.kernel_attribute(kernel, attribute, device)?);
        Ok(())
    }

    fn cuKernelSetAttribute[12000](attribute: u32, value: i32, kernel: Handle, device: i32) {
        driver()?.set_kernel_attribute(kernel, attribute, value, device)
    }

    /// Without effect.
    fn cuKernelSetCacheConfig[12000](kernel: Handle, _preference: u32, device: i32) {
        let driver = driver()?;
        driver.device(device)?;
        driver.kernels.get(kernel).map(drop)
    }

    /// The text stays as long as the library.
    fn cuKernelGetName[12030](name: Out<Pointer<c_char>>, kernel: Handle) {
        name.set(Pointer::to_text(&driver()?.kernels.get(kernel)?.name));
        Ok(())
    }

    fn cuKernelGetParamInfo[12040](kernel: Handle, index: usize, offset: Out<usize>, bytes: OutOrNull<usize>) {
        let driver = driver()?;
        let (place, size) = parameter(driver.kernel_of_library(kernel)?.2, index)?;
        offset.set(place);
        bytes.set(size);
        Ok(())
    }
}
