//! How right files are made wrong.

use serde_json::Value;

/// A change of the right files.
#[derive(Debug, Clone, Copy)]
pub enum Edit {
    /// Puts JSON at a pointer of the launch file.
    Set(&'static str, &'static str),
    /// Removes what is at a pointer of the launch file.
    Remove(&'static str),
    /// Launches the kernel that takes a tensor map, which is right but for these keys.
    Map(&'static str),
    /// Replaces text of the module.
    Replace(&'static str, &'static str),
    /// Ends the module before a text.
    Cut(&'static str),
    /// Writes a file.
    File(&'static str, &'static [u8]),
    /// Removes a file.
    Missing(&'static str),
}

/// A tensor map of the buffer `data`.
const MAP: &str = r#"{"buffer": "data", "dtype": "f32", "dims": [8, 4], "strides": [32], "box": [8, 2]}"#;

impl Edit {
    /// Makes the changes of the launch file and of the module.
    pub fn apply(self, launch: &mut Value, module: &mut String) {
        match self {
            Self::Set(pointer, value) => set(launch, pointer, json(value)),
            Self::Remove(pointer) => remove(launch, pointer),
            Self::Map(keys) => {
                let mut map = json(MAP);
                for (key, value) in json(keys).as_object().expect("an object") {
                    map[key] = value.clone();
                }
                set(launch, "/launches/0/kernel", Value::from("tiled"));
                set(launch, "/launches/0/args", serde_json::json!([{"tensor_map": map}]));
            }
            Self::Replace(old, new) => {
                assert_eq!(module.matches(old).count(), 1, "`{old}` in the module");
                *module = module.replace(old, new);
            }
            Self::Cut(end) => module.truncate(module.find(end).expect("a place in the module")),
            Self::File(..) | Self::Missing(_) => {}
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The place of a JSON pointer, and its last part.
fn place<'a, 'p>(value: &'a mut Value, pointer: &'p str) -> (&'a mut Value, &'p str) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    (value.pointer_mut(parent).expect("a place in the launch file"), key)
}

fn set(value: &mut Value, pointer: &str, new: Value) {
    match place(value, pointer) {
        (Value::Array(elements), index) => {
            let index: usize = index.parse().expect("an index");
            elements.splice(index..elements.len().min(index + 1), [new]);
        }
        (object, key) => object[key] = new,
    }
}

fn remove(value: &mut Value, pointer: &str) {
    match place(value, pointer) {
        (Value::Array(elements), index) => drop(elements.remove(index.parse().expect("an index"))),
        (object, key) => drop(object.as_object_mut().and_then(|keys| keys.remove(key)).expect("a key")),
    }
}
