//! Handles of objects: numbers in tables, so that a wrong one is an error and never a wild pointer.

use crate::error::{Code, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A handle as the caller has it: a context, a stream, an event, a module, a function or a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Handle(pub usize);

impl Handle {
    /// What stands for no context, and for the default stream.
    pub const NULL: Self = Self(0);

    /// One that was never given before, for an object of any kind.
    pub fn fresh() -> Self {
        // Beyond the small numbers that name the default streams.
        static NEXT: AtomicUsize = AtomicUsize::new(0x1000);
        Self(NEXT.fetch_add(0x10, Ordering::Relaxed))
    }
}

/// The objects of a kind, each in a context.
#[derive(Debug)]
pub struct Table<T>(BTreeMap<Handle, Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    context: Handle,
    object: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Table<T> {
    /// Adds an object.
    pub fn insert(&mut self, context: Handle, object: T) -> Handle {
        let handle = Handle::fresh();
        self.0.insert(handle, Entry { context, object });
        handle
    }

    /// The object of a handle.
    pub fn get(&self, handle: Handle) -> Result<&T> {
        self.0.get(&handle).map(|entry| &entry.object).ok_or_else(|| Code::InvalidHandle.into())
    }

    /// The object of a handle, to change.
    pub fn get_mut(&mut self, handle: Handle) -> Result<&mut T> {
        self.0.get_mut(&handle).map(|entry| &mut entry.object).ok_or_else(|| Code::InvalidHandle.into())
    }

    /// The context of an object.
    pub fn context(&self, handle: Handle) -> Result<Handle> {
        self.0.get(&handle).map(|entry| entry.context).ok_or_else(|| Code::InvalidHandle.into())
    }

    /// Takes an object out; its handle is invalid from now on.
    pub fn remove(&mut self, handle: Handle) -> Result<T> {
        self.0.remove(&handle).map(|entry| entry.object).ok_or_else(|| Code::InvalidHandle.into())
    }

    /// Takes out all objects of a context.
    pub fn remove_all(&mut self, context: Handle) -> impl Iterator<Item = T> {
        self.0.extract_if(.., move |_, entry| entry.context == context).map(|(_, entry)| entry.object)
    }

    /// All objects with their handles.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.0.iter().map(|(handle, entry)| (*handle, &entry.object))
    }

    /// All objects, to change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().map(|entry| &mut entry.object)
    }

    /// Takes out an object if a condition holds for it.
    pub fn remove_one_if(&mut self, handle: Handle, condition: impl Fn(&T) -> bool) {
        if self.get(handle).is_ok_and(condition) {
            self.0.remove(&handle);
        }
    }

    /// Takes out the objects that a condition holds for.
    pub fn remove_if(&mut self, condition: impl Fn(&T) -> bool) {
        self.0.retain(|_, entry| !condition(&entry.object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_of_one_object_and_never_of_another() {
        let (mut words, mut numbers) = (Table::default(), Table::default());
        let context = Handle(16);
        let word = words.insert(context, "word");
        let number = numbers.insert(context, 5);
        assert_eq!((*words.get(word).unwrap(), *numbers.get(number).unwrap()), ("word", 5));
        assert_eq!(words.get(number).unwrap_err().code, Code::InvalidHandle);
        assert_eq!(words.get(Handle::NULL).unwrap_err().code, Code::InvalidHandle);
        assert_eq!(words.remove(word).unwrap(), "word");
        assert_eq!(words.remove(word).unwrap_err().code, Code::InvalidHandle);
        assert_ne!(words.insert(context, "other"), word);
        assert_eq!(numbers.remove_all(Handle(17)).count(), 0);
        assert_eq!(numbers.remove_all(context).collect::<Vec<_>>(), [5]);
        assert!(numbers.get(number).is_err());
    }
}
