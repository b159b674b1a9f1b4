//! A generated kernel as it is stored: what a build embeds, a cache keeps and the command writes.

use crate::Kernel;
use crate::cubin::Cubin;
use rorqual_codegen::contract::Contract;
use thiserror::Error;

/// A kernel as text, with its contract, and as machine code where there is some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What a launch needs to know.
    pub contract: Contract,
    /// The PTX text.
    pub ptx: String,
    /// Machine code of the text for the target of the contract, if it was assembled when the crate was built.
    pub cubin: Option<Cubin>,
}

/// A stored kernel that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("stored kernel: {0}")]
pub struct ReadArtifactError(String);

impl From<&Kernel> for Artifact {
    fn from(kernel: &Kernel) -> Self {
        Self { contract: kernel.contract.clone(), ptx: kernel.text(), cubin: None }
    }
}

impl Artifact {
    /// The contract as JSON on the first line, then the PTX text. Machine code is not part of it.
    ///
    /// # Panics
    ///
    /// Never: contracts are plain data.
    #[must_use]
    pub fn to_text(&self) -> String {
        let contract = serde_json::to_string(&self.contract).expect("plain data");
        format!("{contract}\n{}", self.ptx)
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn from_text(text: &str) -> Result<Self, ReadArtifactError> {
        let wrong = |message: &str| ReadArtifactError(message.to_owned());
        let (contract, ptx) = text.split_once('\n').ok_or_else(|| wrong("it has one line only"))?;
        let contract = serde_json::from_str(contract).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { contract, ptx: ptx.to_owned(), cubin: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn a_kernel_is_stored_and_read() {
        for row in catalog::rows() {
            let target = catalog::targets().find(|target| row.spec.serves(*target)).unwrap();
            let kernel = row.spec.generate(target).unwrap();
            let artifact = Artifact::from(&kernel);
            assert_eq!(Artifact::from_text(&artifact.to_text()).as_ref(), Ok(&artifact));
            assert_eq!(artifact.contract, kernel.contract);
        }
        assert!(Artifact::from_text("").is_err());
        assert!(Artifact::from_text("{}\n.version 7.0").is_err());
    }
}
