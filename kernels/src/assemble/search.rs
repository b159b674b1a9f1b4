//! Where ptxas is.

use super::AssembleError;
use std::env::{self, consts::EXE_SUFFIX};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable that names ptxas.
pub const VARIABLE: &str = "RORQUAL_PTXAS";
/// Its value where nothing is to be assembled although something asks for it.
const NONE: &str = "none";

/// What a search for ptxas found, and what it depended on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The environment variables that were asked for: while they stay as they are, so does the result.
    pub variables: Vec<&'static str>,
    /// The program; `None` if `RORQUAL_PTXAS` is `none`, which asks for no machine code.
    pub ptxas: Result<Option<PathBuf>, AssembleError>,
}

impl Search {
    /// Looks for ptxas: what `RORQUAL_PTXAS` names, else `ptxas` in the directories of `PATH`, else in `bin` of
    /// `CUDA_HOME` and of `CUDA_PATH`.
    #[must_use]
    pub fn in_environment() -> Self {
        // A variable that is empty is as good as none.
        Self::with(|variable| env::var_os(variable).filter(|value| !value.is_empty()))
    }

    /// What `RORQUAL_PTXAS` names, unless that is `none`: a ptxas that happens to be installed is not found.
    #[must_use]
    pub fn named() -> Option<PathBuf> {
        let named =
            |variable: &str| env::var_os(variable).filter(|value| variable == VARIABLE && !value.is_empty());
        Self::with(named).ptxas.ok().flatten()
    }

    /// The same as [`in_environment`](Self::in_environment) in an environment of the caller.
    #[must_use]
    pub fn with(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut variables = vec![VARIABLE];
        if let Some(named) = variable(VARIABLE) {
            let ptxas = (named != NONE).then(|| PathBuf::from(named));
            return Self { variables, ptxas: Ok(ptxas) };
        }
        let program = format!("ptxas{EXE_SUFFIX}");
        let mut looked = vec![format!("{VARIABLE} is not set")];
        for name in ["PATH", "CUDA_HOME", "CUDA_PATH"] {
            variables.push(name);
            let Some(value) = variable(name) else {
                looked.push(format!("{name} is not set"));
                continue;
            };
            let candidates: Vec<PathBuf> = if name == "PATH" {
                env::split_paths(&value).map(|directory| directory.join(&program)).collect()
            } else {
                vec![Path::new(&value).join("bin").join(&program)]
            };
            if let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) {
                return Self { variables, ptxas: Ok(Some(found.clone())) };
            }
            looked.push(match name {
                "PATH" => format!("{program} is in no directory of PATH"),
                _ => format!("{name} has no bin/{program}: {}", Path::new(&value).display()),
            });
        }
        Self { variables, ptxas: Err(AssembleError::NotFound { looked }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(variables: &[(&str, &Path)]) -> Search {
        Search::with(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_os_str().to_owned())
        })
    }

    #[test]
    fn the_variable_comes_first_then_the_path_then_the_toolkits() {
        let root = env::temp_dir().join(format!("rorqual-search-{}", std::process::id()));
        let program = format!("ptxas{EXE_SUFFIX}");
        let toolkit = |name: &str| {
            let bin = root.join(name).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join(&program), "").unwrap();
            (root.join(name), bin)
        };
        let ((home, home_bin), (path, path_bin), (_, bin)) = (toolkit("a"), toolkit("b"), toolkit("c"));
        let searched = env::join_paths([root.as_path(), bin.as_path()]).unwrap();
        let searched = Path::new(&searched);
        let empty = root.as_path();
        let named = Path::new("/no/such/ptxas");
        let all = [(VARIABLE, named), ("PATH", searched), ("CUDA_HOME", &home), ("CUDA_PATH", &path)];
        let found = |search: Search| (search.ptxas.unwrap(), search.variables.len());
        assert_eq!(found(search(&all)), (Some(named.to_owned()), 1));
        assert_eq!(found(search(&all[1..])), (Some(bin.join(&program)), 2));
        assert_eq!(found(search(&all[2..])), (Some(home_bin.join(&program)), 3));
        assert_eq!(
            found(search(&[("PATH", empty), ("CUDA_HOME", empty), ("CUDA_PATH", &path)])),
            (Some(path_bin.join(&program)), 4)
        );
        assert_eq!(found(search(&[(VARIABLE, Path::new("none")), all[1]])), (None, 1));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_error_says_what_was_looked_for_and_what_to_do() {
        let error =
            search(&[("PATH", Path::new("")), ("CUDA_HOME", Path::new("/no/cuda"))]).ptxas.unwrap_err();
        let program = format!("ptxas{EXE_SUFFIX}");
        assert_eq!(
            error.to_string(),
            format!(
                "no ptxas for feature `aot`: RORQUAL_PTXAS is not set; {program} is in no directory of PATH; \
                 CUDA_HOME has no bin/{program}: /no/cuda; CUDA_PATH is not set. Set RORQUAL_PTXAS to the path of \
                 ptxas, which comes with the CUDA toolkit and with the package nvidia-cuda-nvcc of PyPI, or to \
                 `none` to build without machine code"
            )
        );
    }
}
