//! Contexts: the primary one of each device, and those that are current in a thread.

use crate::boundary::{Out, OutOrNull};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::{Handle, Table};
use std::cell::RefCell;

thread_local! {
    /// The contexts of this thread, the current one last.
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// The primary contexts.
#[derive(Debug)]
pub struct Contexts {
    contexts: Table<Context>,
    /// By device: its primary context while it is retained, and how often.
    primary: Vec<(Handle, u32)>,
}

#[derive(Debug)]
struct Context {
    device: u32,
    /// What a kernel did, which every later call says again.
    fault: Option<Code>,
}

/// The context that a call is about.
#[derive(Debug, Clone, Copy)]
pub struct Current {
    pub context: Handle,
    pub device: u32,
}

impl Contexts {
    pub fn new(devices: u32) -> Self {
        Self { contexts: Table::default(), primary: vec![(Handle::NULL, 0); devices as usize] }
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

    fn retain(&mut self, device: u32) -> Handle {
        let (context, count) = &mut self.primary[device as usize];
        if *count == 0 {
            *context = self.contexts.insert(Handle::NULL, Context { device, fault: None });
        }
        *count += 1;
        *context
    }

    /// Takes away one use; the context, if it was the last.
    fn release(&mut self, device: u32) -> Result<Option<Handle>> {
        let (context, count) = &mut self.primary[device as usize];
        *count = count.checked_sub(1).ok_or(Code::InvalidContext)?;
        Ok((*count == 0).then_some(*context))
    }
}

impl Driver {
    /// The current context, which must be there and sound.
    pub fn current(&self) -> Result<Current> {
        let context = current_handle();
        if context == Handle::NULL {
            return Err(Code::InvalidContext.into());
        }
        let found = self.contexts.contexts.get(context).map_err(|_| Code::ContextIsDestroyed)?;
        match found.fault {
            Some(code) => Err(code.into()),
            None => Ok(Current { context, device: found.device }),
        }
    }

    /// Ends a context with everything in it.
    fn destroy(&mut self, context: Handle) -> Result<()> {
        self.contexts.contexts.remove(context)?;
        self.streams.remove_all(context).for_each(drop);
        self.events.remove_all(context).for_each(drop);
        self.functions.remove_all(context).for_each(drop);
        self.captures.remove_all(context).for_each(drop);
        self.graphs.remove_all(context).for_each(drop);
        self.executable_graphs.remove_all(context).for_each(drop);
        for module in self.modules.remove_all(context) {
            self.simulator.unload(module)?;
        }
        for address in self.memory.remove_all(context) {
            self.simulator.free(address)?;
        }
        Ok(())
    }
}

/// The current context of this thread; null if there is none.
fn current_handle() -> Handle {
    STACK.with_borrow(|stack| stack.last().copied().unwrap_or(Handle::NULL))
}

driver_functions! {
    fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: i32) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        context.set(driver.contexts.retain(device));
        Ok(())
    }

    fn cuDevicePrimaryCtxRelease_v2(device: i32) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        match driver.contexts.release(device)? {
            Some(context) => driver.destroy(context),
            None => Ok(()),
        }
    }

    fn cuDevicePrimaryCtxReset_v2(device: i32) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        let (context, count) = std::mem::replace(&mut driver.contexts.primary[device as usize], (Handle::NULL, 0));
        if count > 0 { driver.destroy(context) } else { Ok(()) }
    }

    /// Flags are about waiting, of which there is none.
    fn cuDevicePrimaryCtxSetFlags_v2(device: i32, _flags: u32) {
        driver()?.device(device).map(drop)
    }

    fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) {
        let driver = driver()?;
        let device = driver.device(device)?;
        flags.set(0);
        active.set(i32::from(driver.contexts.primary[device as usize].1 > 0));
        Ok(())
    }

    fn cuCtxGetCurrent(context: Out<Handle>) {
        drop(driver()?);
        context.set(current_handle());
        Ok(())
    }

    fn cuCtxSetCurrent(context: Handle) {
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

    fn cuCtxPushCurrent_v2(context: Handle) {
        driver()?.contexts.device(context)?;
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    fn cuCtxPopCurrent_v2(context: OutOrNull<Handle>) {
        drop(driver()?);
        let popped = STACK.with_borrow_mut(Vec::pop).ok_or(Code::InvalidContext)?;
        context.set(popped);
        Ok(())
    }

    fn cuCtxGetDevice(device: Out<i32>) {
        let driver = driver()?;
        let context = current_handle();
        device.set(driver.contexts.device(context)? as i32);
        Ok(())
    }

    fn cuCtxGetFlags(flags: Out<u32>) {
        driver()?.current()?;
        flags.set(0);
        Ok(())
    }

    fn cuCtxGetApiVersion(context: Handle, version: Out<u32>) {
        let driver = driver()?;
        driver.contexts.device(if context == Handle::NULL { current_handle() } else { context })?;
        version.set(3020);
        Ok(())
    }

    fn cuCtxGetStreamPriorityRange(least: OutOrNull<i32>, greatest: OutOrNull<i32>) {
        driver()?.current()?;
        least.set(0);
        greatest.set(crate::stream::GREATEST_PRIORITY);
        Ok(())
    }

    /// All has been done already.
    fn cuCtxSynchronize() {
        driver()?.current().map(drop)
    }
}
