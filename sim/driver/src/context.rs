//! Contexts: the primary one of each device, others, and those that are current in a thread.

use crate::boundary::{In, Out, OutOrNull};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::{Handle, Table};
use std::cell::RefCell;

thread_local! {
    /// The contexts of this thread, the current one last.
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// `CU_CTX_FLAGS_MASK`: how to wait, mapped memory, sizes of local memory, dumps, synchronous operations.
const FLAGS: u32 = 0xff;
/// Limits by their numbers: stack of a thread, buffer of `printf`, heap, depth and number of launches by kernels, bytes
/// that L2 fetches at once, bytes that persist in L2.
const LIMITS: [usize; 7] = [1 << 10, 1 << 20, 8 << 20, 0, 0, 64, 0];

/// All contexts.
#[derive(Debug)]
pub struct Contexts {
    contexts: Table<Context>,
    primary: Vec<Primary>,
    /// Contexts with those that let them use their memory.
    peers: Vec<(Handle, Handle)>,
}

/// The primary context of a device while it is retained, and how often; the flags that it has or will have.
#[derive(Debug, Clone, Copy)]
struct Primary {
    context: Handle,
    count: u32,
    flags: u32,
}

#[derive(Debug)]
struct Context {
    device: u32,
    flags: u32,
    limits: [usize; LIMITS.len()],
    /// Preferences between L1 and shared memory, and of the width of banks.
    preferences: [u32; 2],
    /// What a kernel did, which every later call says again.
    fault: Option<Code>,
}

impl Context {
    const fn new(device: u32, flags: u32) -> Self {
        Self { device, flags, limits: LIMITS, preferences: [0; 2], fault: None }
    }
}

/// `CUctxCreateParams`
#[derive(Clone, Copy)]
#[repr(C)]
struct CreateParameters {
    _affinities: usize,
    affinity_count: i32,
    graphics: usize,
}

/// The context that a call is about.
#[derive(Debug, Clone, Copy)]
pub struct Current {
    pub context: Handle,
    pub device: u32,
}

impl Contexts {
    pub fn new(devices: u32) -> Self {
        let primary = Primary { context: Handle::NULL, count: 0, flags: 0 };
        Self { contexts: Table::default(), primary: vec![primary; devices as usize], peers: Vec::new() }
    }

    /// The device of a context.
    pub fn device(&self, context: Handle) -> Result<u32> {
        let context = self.contexts.get(context).map_err(|_| Code::InvalidContext)?;
        Ok(context.device)
    }

    /// From now on every call in the context fails.
    pub fn set_fault(&mut self, context: Handle, code: Code) {
        if let Ok(context) = self.contexts.get_mut(context) {
            context.fault = context.fault.or(Some(code));
        }
    }

    /// The devices of contexts that may use the memory of this one.
    pub fn peer_devices(&self, owner: Handle) -> impl Iterator<Item = u32> {
        let peers = self.peers.iter().filter(move |(_, of)| *of == owner);
        peers.filter_map(|(peer, _)| self.device(*peer).ok())
    }

    /// A context of a device, to set up.
    fn get_mut(&mut self, context: Handle) -> Result<&mut Context> {
        self.contexts.get_mut(context).map_err(|_| Code::InvalidContext.into())
    }

    fn retain(&mut self, device: u32) -> Handle {
        let Primary { context, count, flags } = &mut self.primary[device as usize];
        if *count == 0 {
            *context = self.contexts.insert(Handle::NULL, Context::new(device, *flags));
        }
        *count += 1;
        *context
    }

    /// Takes away one use; the context, if it was the last.
    fn release(&mut self, device: u32) -> Result<Option<Handle>> {
        let Primary { context, count, .. } = &mut self.primary[device as usize];
        *count = count.checked_sub(1).ok_or(Code::InvalidContext)?;
        Ok((*count == 0).then_some(*context))
    }

    fn is_primary(&self, context: Handle) -> bool {
        self.primary.iter().any(|primary| primary.count > 0 && primary.context == context)
    }
}

impl Driver {
    /// The current context, which must be there and sound.
    pub fn current(&self) -> Result<Current> {
        let context = current_handle();
        if context == Handle::NULL {
            return Err(Code::InvalidContext.into());
        }
        self.sound(context).map_err(|error| match error.code {
            Code::InvalidContext => Code::ContextIsDestroyed.into(),
            _ => error,
        })
    }

    /// A context that is there and sound.
    pub fn sound(&self, context: Handle) -> Result<Current> {
        let found = self.contexts.contexts.get(context).map_err(|_| Code::InvalidContext)?;
        match found.fault {
            Some(code) => Err(code.into()),
            None => Ok(Current { context, device: found.device }),
        }
    }

    /// Ends a context with everything in it.
    fn destroy(&mut self, context: Handle) -> Result<()> {
        self.contexts.contexts.remove(context)?;
        self.contexts.peers.retain(|(peer, owner)| *peer != context && *owner != context);
        self.clocks.remove_context(context);
        self.thread_streams.retain(|(_, of, _)| *of != context);
        self.streams.remove_all(context).for_each(drop);
        self.events.remove_all(context).for_each(drop);
        self.functions.remove_all(context).for_each(drop);
        self.linkers.remove_all(context).for_each(drop);
        self.captures.remove_all(context).for_each(drop);
        self.graphs.remove_all(context).for_each(drop);
        self.executable_graphs.remove_all(context).for_each(drop);
        for module in self.modules.remove_all(context) {
            self.simulator.unload(module)?;
        }
        for address in self.memory.of_context(context) {
            self.release_allocation(address)?;
        }
        Ok(())
    }

    /// Makes a context beside the primary one, and current.
    fn create_context(&mut self, flags: u32, device: i32) -> Result<Handle> {
        let device = self.device(device)?;
        if flags & !FLAGS != 0 {
            return Err(Code::InvalidValue.into());
        }
        let context = self.contexts.contexts.insert(Handle::NULL, Context::new(device, flags));
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(context)
    }

    fn destroy_context(&mut self, context: Handle) -> Result<()> {
        self.contexts.device(context)?;
        if self.contexts.is_primary(context) {
            return Err(Code::InvalidContext.because("a primary context is released, not destroyed"));
        }
        STACK.with_borrow_mut(|stack| stack.pop_if(|current| *current == context));
        self.destroy(context)
    }

    /// The current context, to set up.
    fn current_mut(&mut self) -> Result<&mut Context> {
        let current = self.current()?;
        self.contexts.get_mut(current.context)
    }

    /// A context, the current one for null.
    fn context_or_current(&self, context: Handle) -> Result<Current> {
        if context == Handle::NULL { self.current() } else { self.sound(context) }
    }

    /// Lets the current context use the memory of another.
    fn enable_peer(&mut self, owner: Handle, flags: u32) -> Result<()> {
        let current = self.current()?;
        let device = self.sound(owner)?.device;
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        if owner == current.context {
            return Err(Code::InvalidContext.because("a context is no peer of itself"));
        }
        if device == current.device {
            return Err(Code::PeerAccessUnsupported.because("both contexts are of one device"));
        }
        if self.contexts.peers.contains(&(current.context, owner)) {
            return Err(Code::PeerAccessAlreadyEnabled.into());
        }
        self.contexts.peers.push((current.context, owner));
        self.map_peers(owner)
    }

    fn disable_peer(&mut self, owner: Handle) -> Result<()> {
        let current = self.current()?;
        self.sound(owner)?;
        let before = self.contexts.peers.len();
        self.contexts.peers.retain(|pair| *pair != (current.context, owner));
        if self.contexts.peers.len() == before {
            return Err(Code::PeerAccessNotEnabled.into());
        }
        self.map_peers(owner)
    }
}

/// The current context of this thread; null if there is none.
fn current_handle() -> Handle {
    STACK.with_borrow(|stack| stack.last().copied().unwrap_or(Handle::NULL))
}

driver_functions! {
    fn cuDevicePrimaryCtxRetain[7000](context: Out<Handle>, device: i32) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        context.set(driver.contexts.retain(device));
        Ok(())
    }

    fn cuDevicePrimaryCtxRelease_v2[11000](device: i32) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        match driver.contexts.release(device)? {
            Some(context) => driver.destroy(context),
            None => Ok(()),
        }
    }

    fn cuDevicePrimaryCtxReset_v2[11000](device: i32) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        let primary = &mut driver.contexts.primary[device as usize];
        let count = std::mem::take(&mut primary.count);
        let context = primary.context;
        if count > 0 { driver.destroy(context) } else { Ok(()) }
    }

    /// Without effect on what runs.
    fn cuDevicePrimaryCtxSetFlags_v2[11000](device: i32, flags: u32) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        if flags & !FLAGS != 0 {
            return Err(Code::InvalidValue.into());
        }
        let primary = &mut driver.contexts.primary[device as usize];
        primary.flags = flags;
        let Primary { context, count, .. } = *primary;
        if count > 0 {
            driver.contexts.get_mut(context)?.flags = flags;
        }
        Ok(())
    }

    fn cuDevicePrimaryCtxGetState[7000](device: i32, flags: Out<u32>, active: Out<i32>) {
        let driver = driver()?;
        let device = driver.device(device)?;
        let primary = driver.contexts.primary[device as usize];
        flags.set(primary.flags);
        active.set(i32::from(primary.count > 0));
        Ok(())
    }

    fn cuCtxCreate_v2[3020](context: Out<Handle>, flags: u32, device: i32) {
        context.set(driver()?.create_context(flags, device)?);
        Ok(())
    }

    /// Without affinities.
    fn cuCtxCreate_v3[11040](context: Out<Handle>, affinities: In<u64>, count: i32, flags: u32, device: i32) {
        if count != 0 || !affinities.is_null() {
            return Err(Code::NotSupported.because("contexts on a part of a device"));
        }
        context.set(driver()?.create_context(flags, device)?);
        Ok(())
    }

    /// Without affinities, and not for graphics.
    fn cuCtxCreate_v4[12050](context: Out<Handle>, parameters: In<CreateParameters>, flags: u32, device: i32) {
        if !parameters.is_null() {
            let parameters = parameters.get()?;
            if parameters.affinity_count != 0 || parameters.graphics != 0 {
                return Err(Code::NotSupported.because("contexts on a part of a device, or for graphics"));
            }
        }
        context.set(driver()?.create_context(flags, device)?);
        Ok(())
    }

    fn cuCtxDestroy_v2[4000](context: Handle) {
        driver()?.destroy_context(context)
    }

    fn cuCtxGetCurrent[4000](context: Out<Handle>) {
        drop(driver()?);
        context.set(current_handle());
        Ok(())
    }

    fn cuCtxSetCurrent[4000](context: Handle) {
        let driver = driver()?;
        if context != Handle::NULL {
            driver.contexts.device(context)?;
        }
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            if context != Handle::NULL {
                stack.push(context);
            }
        });
        Ok(())
    }

    fn cuCtxPushCurrent_v2[4000](context: Handle) {
        driver()?.contexts.device(context)?;
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    fn cuCtxPopCurrent_v2[4000](context: OutOrNull<Handle>) {
        drop(driver()?);
        let popped = STACK.with_borrow_mut(Vec::pop).ok_or(Code::InvalidContext)?;
        context.set(popped);
        Ok(())
    }

    fn cuCtxGetDevice[2000](device: Out<i32>) {
        let driver = driver()?;
        let context = current_handle();
        device.set(driver.contexts.device(context)? as i32);
        Ok(())
    }

    fn cuCtxGetDevice_v2[13000](device: Out<i32>, context: Handle) {
        device.set(driver()?.context_or_current(context)?.device as i32);
        Ok(())
    }

    fn cuCtxGetId[12000](context: Handle, id: Out<u64>) {
        // Handles are given once.
        id.set(driver()?.context_or_current(context)?.context.0 as u64);
        Ok(())
    }

    fn cuCtxGetFlags[7000](flags: Out<u32>) {
        flags.set(driver()?.current_mut()?.flags);
        Ok(())
    }

    /// Without effect on what runs.
    fn cuCtxSetFlags[12010](flags: u32) {
        if flags & !FLAGS != 0 {
            return Err(Code::InvalidValue.into());
        }
        driver()?.current_mut()?.flags = flags;
        Ok(())
    }

    /// What was set last.
    fn cuCtxGetLimit[3010](value: Out<usize>, limit: u32) {
        let mut driver = driver()?;
        let limits = driver.current_mut()?.limits;
        value.set(*limits.get(limit as usize).ok_or(Code::UnsupportedLimit)?);
        Ok(())
    }

    /// Without effect on what runs.
    fn cuCtxSetLimit[3010](limit: u32, value: usize) {
        let mut driver = driver()?;
        *driver.current_mut()?.limits.get_mut(limit as usize).ok_or(Code::UnsupportedLimit)? = value;
        Ok(())
    }

    /// What was set last.
    fn cuCtxGetCacheConfig[3020](preference: Out<u32>) {
        preference.set(driver()?.current_mut()?.preferences[0]);
        Ok(())
    }

    /// Without effect on what runs.
    fn cuCtxSetCacheConfig[3020](preference: u32) {
        driver()?.current_mut()?.preferences[0] = preference;
        Ok(())
    }

    /// What was set last.
    fn cuCtxGetSharedMemConfig[4020](preference: Out<u32>) {
        preference.set(driver()?.current_mut()?.preferences[1]);
        Ok(())
    }

    /// Without effect on what runs.
    fn cuCtxSetSharedMemConfig[4020](preference: u32) {
        driver()?.current_mut()?.preferences[1] = preference;
        Ok(())
    }

    /// There is no cache.
    fn cuCtxResetPersistingL2Cache[11000]() {
        driver()?.current().map(drop)
    }

    fn cuCtxGetApiVersion[3020](context: Handle, version: Out<u32>) {
        let driver = driver()?;
        driver.contexts.device(if context == Handle::NULL { current_handle() } else { context })?;
        version.set(3020);
        Ok(())
    }

    fn cuCtxGetStreamPriorityRange[5050](least: OutOrNull<i32>, greatest: OutOrNull<i32>) {
        driver()?.current()?;
        least.set(0);
        greatest.set(crate::stream::GREATEST_PRIORITY);
        Ok(())
    }

    fn cuCtxSynchronize[2000]() {
        let mut driver = driver()?;
        let current = driver.current()?;
        driver.clocks.wait_for_context(current.context);
        Ok(())
    }

    fn cuCtxSynchronize_v2[13000](context: Handle) {
        let mut driver = driver()?;
        let context = driver.context_or_current(context)?.context;
        driver.clocks.wait_for_context(context);
        Ok(())
    }

    /// What is allocated later by the other context is mapped too; what comes from pools or is mapped by hand is not.
    fn cuCtxEnablePeerAccess[4000](context: Handle, flags: u32) {
        driver()?.enable_peer(context, flags)
    }

    fn cuCtxDisablePeerAccess[4000](context: Handle) {
        driver()?.disable_peer(context)
    }
}
