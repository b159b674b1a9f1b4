//! Objects of the caller that graphs keep alive: the last reference that goes calls the function that ends the object.

use crate::boundary::{HostCall, HostFunction, HostMemory, Out, run_after_call};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::Handle;
use std::sync::Arc;

/// `CU_USER_OBJECT_NO_DESTRUCTOR_SYNC`, the only flag, which must be given.
const NO_DESTRUCTOR_SYNC: u32 = 1;
/// `CU_GRAPH_USER_OBJECT_MOVE`
const MOVE: u32 = 1;

/// An object, while anyone refers to it.
#[derive(Debug)]
struct Object {
    end: HostCall,
}

impl Drop for Object {
    fn drop(&mut self) {
        run_after_call(self.end);
    }
}

/// The references of a caller to an object.
#[derive(Debug)]
pub struct UserObject {
    object: Arc<Object>,
    references: u32,
}

/// The objects that a graph keeps, each as often as it refers to it.
#[derive(Debug, Clone, Default)]
pub struct Kept(Vec<(Handle, Arc<Object>)>);

impl Driver {
    /// Takes references away from a caller.
    fn release_object(&mut self, handle: Handle, count: u32) -> Result<()> {
        let found = self.user_objects.get_mut(handle).map_err(|_| Code::InvalidValue)?;
        found.references =
            found.references.checked_sub(count).filter(|_| count > 0).ok_or(Code::InvalidValue)?;
        if found.references == 0 {
            self.user_objects.remove(handle)?;
        }
        Ok(())
    }

    fn keep_object(&mut self, graph: Handle, handle: Handle, count: u32, flags: u32) -> Result<()> {
        let object = Arc::clone(&self.user_objects.get(handle).map_err(|_| Code::InvalidValue)?.object);
        let graph = self.graphs.get_mut(graph).map_err(|_| Code::InvalidValue)?;
        if count == 0 || flags & !MOVE != 0 {
            return Err(Code::InvalidValue.into());
        }
        graph.kept.0.extend(std::iter::repeat_n((handle, object), count as usize));
        if flags == MOVE { self.release_object(handle, count) } else { Ok(()) }
    }

    fn give_up_object(&mut self, graph: Handle, handle: Handle, count: u32) -> Result<()> {
        let kept = &mut self.graphs.get_mut(graph).map_err(|_| Code::InvalidValue)?.kept.0;
        if count == 0 || kept.iter().filter(|(known, _)| *known == handle).count() < count as usize {
            return Err(Code::InvalidValue.into());
        }
        for _ in 0..count {
            if let Some(at) = kept.iter().position(|(known, _)| *known == handle) {
                kept.swap_remove(at);
            }
        }
        Ok(())
    }
}

driver_functions! {
    /// The function is called on the thread whose call takes the last reference away, before that returns.
    fn cuUserObjectCreate[11030](
        object: Out<Handle>, data: HostMemory, end: HostFunction, references: u32, flags: u32,
    ) {
        let mut driver = driver()?;
        if flags != NO_DESTRUCTOR_SYNC || references == 0 || references > i32::MAX as u32 {
            return Err(Code::InvalidValue.into());
        }
        let known = UserObject { object: Arc::new(Object { end: HostCall::Function(end, data) }), references };
        object.set(driver.user_objects.insert(Handle::NULL, known));
        Ok(())
    }

    fn cuUserObjectRetain[11030](object: Handle, count: u32) {
        let mut driver = driver()?;
        let found = driver.user_objects.get_mut(object).map_err(|_| Code::InvalidValue)?;
        found.references = found.references.checked_add(count).filter(|_| count > 0).ok_or(Code::InvalidValue)?;
        Ok(())
    }

    fn cuUserObjectRelease[11030](object: Handle, count: u32) {
        driver()?.release_object(object, count)
    }

    /// A reference beyond the caller's last one is not there to be kept.
    fn cuGraphRetainUserObject[11030](graph: Handle, object: Handle, count: u32, flags: u32) {
        driver()?.keep_object(graph, object, count, flags)
    }

    fn cuGraphReleaseUserObject[11030](graph: Handle, object: Handle, count: u32) {
        driver()?.give_up_object(graph, object, count)
    }
}
