//! A writer of safetensors files that does as it is told, right or wrong.

use serde_json::{Map, Value, json};

/// A tensor as its header describes it, and its bytes.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The tensors of a file, in the order of their bytes.
pub struct SafetensorsFile {
    pub tensors: Vec<Tensor>,
}

impl SafetensorsFile {
    /// Reads a good file.
    pub fn parse(file: &[u8]) -> Self {
        let (length, rest) = file.split_first_chunk::<8>().expect("a header length");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header: Map<String, Value> = serde_json::from_slice(header).expect("a header");
        let mut tensors: Vec<(usize, Tensor)> = header
            .into_iter()
            .filter(|(name, _)| name != "__metadata__")
            .map(|(name, entry)| {
                let number = |value: &Value| value.as_u64().expect("a number") as usize;
                let [start, end] = [0, 1].map(|at| number(&entry["data_offsets"][at]));
                let shape = entry["shape"].as_array().expect("a shape").iter().map(number).collect();
                let dtype = entry["dtype"].as_str().expect("a dtype").to_owned();
                (start, Tensor { name, dtype, shape, bytes: data[start..end].to_vec() })
            })
            .collect();
        tensors.sort_by_key(|(start, _)| *start);
        Self { tensors: tensors.into_iter().map(|(_, tensor)| tensor).collect() }
    }

    /// The file, with offsets as the tensors lie.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = Map::new();
        let mut data = Vec::new();
        for tensor in &self.tensors {
            let start = data.len();
            data.extend_from_slice(&tensor.bytes);
            let entry =
                json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]});
            header.insert(tensor.name.clone(), entry);
        }
        file_of(Value::Object(header).to_string(), &data)
    }

    /// The tensor of this name.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no tensor `{name}` to damage"))
    }

    /// Takes a tensor away.
    pub fn remove(&mut self, name: &str) {
        self.tensor(name);
        self.tensors.retain(|tensor| tensor.name != name);
    }

    /// Gives a tensor another type and shape, and zeros of that size.
    pub fn replace(&mut self, name: &str, dtype: &str, shape: &[usize]) {
        let element_bytes = match dtype {
            "F64" | "I64" => 8,
            "F32" | "I32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        };
        let tensor = self.tensor(name);
        tensor.dtype = dtype.to_owned();
        tensor.shape = shape.to_vec();
        tensor.bytes = vec![0; shape.iter().product::<usize>() * element_bytes];
    }

    /// Writes an f32 over an element of a tensor of them.
    pub fn set_f32(&mut self, name: &str, element: usize, value: f32) {
        let tensor = self.tensor(name);
        assert_eq!(tensor.dtype, "F32", "`{name}`");
        tensor.bytes[element * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

/// A file of any header and any data.
pub fn file_of(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}
