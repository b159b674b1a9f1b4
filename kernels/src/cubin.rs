//! Machine code for one architecture, as ptxas writes it: an ELF file.
//!
//! The layout is that of ELF64 (System V ABI, chapters 4 and 5); where CUDA keeps the architecture is from LLVM's
//! `BinaryFormat/ELF.h`.

use std::fmt;
use std::sync::Arc;
use thiserror::Error;

const MAGIC: &[u8] = b"\x7fELF";
/// 64 bits, little endian, ELF version 1.
const CLASS_DATA_VERSION: &[u8] = &[2, 1, 1];
const MACHINE_CUDA: u16 = 190;
const HEADER_BYTES: usize = 64;
const SECTION_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SYMBOL_BYTES: usize = 24;
const SECTION_SYMBOLS: u32 = 2;
/// A section without bytes in the file.
const SECTION_NOBITS: u32 = 8;
const SYMBOL_FUNCTION: u8 = 2;

/// Machine code of a kernel. That all of the file is there was checked; what the code does cannot be.
#[derive(Clone, PartialEq, Eq)]
pub struct Cubin {
    bytes: Arc<[u8]>,
    sm: u16,
    functions: Vec<String>,
}

/// Bytes that are no machine code.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not machine code: {0}")]
pub struct CubinError(String);

impl fmt::Debug for Cubin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cubin {{ {} bytes for sm_{}: {} }}", self.bytes.len(), self.sm, self.functions.join(", "))
    }
}

impl Cubin {
    /// Checks that the bytes are a whole ELF file for a GPU.
    ///
    /// # Errors
    ///
    /// If they are not, with what is wrong.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, CubinError> {
        let bytes = bytes.into();
        let file = File(&bytes);
        let wrong = |what: String| Err(CubinError(what));
        if !bytes.starts_with(MAGIC) {
            return wrong("no ELF file".to_owned());
        }
        if file.bytes(4, 3)? != CLASS_DATA_VERSION {
            return wrong("no 64-bit little-endian ELF file".to_owned());
        }
        let machine = file.u16(18)?;
        if machine != MACHINE_CUDA {
            return wrong(format!("an ELF file for machine {machine}, expected {MACHINE_CUDA}"));
        }
        // The place of the architecture in the flags moved with CUDA's second ELF convention.
        let (flags, convention) = (file.u32(48)?, file.bytes(8, 1)?[0]);
        let sm = match convention {
            7 => flags & 0xff,
            8 => flags >> 8 & 0xff,
            other => return wrong(format!("version {other} of CUDA's ELF convention, expected 7 or 8")),
        };
        let sections = file.table(40, 60, SECTION_HEADER_BYTES)?;
        for header in &sections {
            if header.u32(4)? != SECTION_NOBITS {
                file.bytes(header.offset(24)?, header.offset(32)?)?;
            }
        }
        for header in file.table(32, 56, PROGRAM_HEADER_BYTES)? {
            file.bytes(header.offset(8)?, header.offset(32)?)?;
        }
        let functions = file.functions(&sections)?;
        Ok(Self { sm: sm as u16, functions, bytes })
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Ten times the major plus the minor compute capability that it is for.
    #[must_use]
    pub const fn sm(&self) -> u16 {
        self.sm
    }

    /// The names of the functions in it, kernels among them.
    #[must_use]
    pub fn functions(&self) -> &[String] {
        &self.functions
    }
}

/// Bytes that end too early give an error.
#[derive(Clone, Copy)]
struct File<'a>(&'a [u8]);

impl<'a> File<'a> {
    fn bytes(self, at: usize, count: usize) -> Result<&'a [u8], CubinError> {
        let missing = || CubinError(format!("bytes {at} to {at}+{count} of {} are missing", self.0.len()));
        at.checked_add(count).and_then(|end| self.0.get(at..end)).ok_or_else(missing)
    }

    fn u16(self, at: usize) -> Result<u16, CubinError> {
        Ok(u16::from_le_bytes(self.bytes(at, 2)?.try_into().expect("two bytes")))
    }

    fn u32(self, at: usize) -> Result<u32, CubinError> {
        Ok(u32::from_le_bytes(self.bytes(at, 4)?.try_into().expect("four bytes")))
    }

    /// A number of 64 bits that says where something is or how long.
    fn offset(self, at: usize) -> Result<usize, CubinError> {
        let value = u64::from_le_bytes(self.bytes(at, 8)?.try_into().expect("eight bytes"));
        usize::try_from(value).map_err(|_| CubinError(format!("{value} bytes are too many")))
    }

    /// The headers of a table: the header of the file has its place at `place`, bytes and number of its entries at
    /// `shape`, the size of the header of the file before that.
    fn table(self, place: usize, size: usize, entry: usize) -> Result<Vec<Self>, CubinError> {
        self.bytes(0, HEADER_BYTES)?;
        let (at, entry_size, count) =
            (self.offset(place)?, usize::from(self.u16(size - 2)?), usize::from(self.u16(size)?));
        if count > 0 && entry_size != entry {
            return Err(CubinError(format!("a table with entries of {entry_size} bytes, expected {entry}")));
        }
        Ok(self.bytes(at, count * entry)?.chunks_exact(entry).map(File).collect())
    }

    fn functions(self, sections: &[Self]) -> Result<Vec<String>, CubinError> {
        let mut functions = Vec::new();
        for header in sections {
            if header.u32(4)? != SECTION_SYMBOLS {
                continue;
            }
            let names = sections.get(header.u32(40)? as usize);
            let names = names.ok_or_else(|| CubinError("symbols without names".to_owned()))?;
            let names = self.bytes(names.offset(24)?, names.offset(32)?)?;
            let symbols = self.bytes(header.offset(24)?, header.offset(32)?)?;
            for symbol in symbols.chunks_exact(SYMBOL_BYTES).map(File) {
                if symbol.bytes(4, 1)?[0] & 0xf == SYMBOL_FUNCTION {
                    let name = names.get(symbol.u32(0)? as usize..).unwrap_or_default();
                    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                    functions.push(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        Ok(functions)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ELF file with a function of this name, as ptxas would lay it out.
    pub(crate) fn elf(convention: u8, sm: u8, function: &str) -> Vec<u8> {
        let names = [b"\0", function.as_bytes(), b"\0"].concat();
        let mut symbol = vec![0; 2 * SYMBOL_BYTES];
        symbol[SYMBOL_BYTES] = 1;
        symbol[SYMBOL_BYTES + 4] = 0x12;
        let (names_at, symbols_at) = (HEADER_BYTES, HEADER_BYTES + names.len());
        let sections_at = symbols_at + symbol.len();
        let section = |kind: u32, at: usize, bytes: usize| {
            let mut header = vec![0; SECTION_HEADER_BYTES];
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(bytes as u64).to_le_bytes());
            header[40] = 1;
            header
        };
        let mut file = vec![0; HEADER_BYTES];
        file[..4].copy_from_slice(MAGIC);
        file[4..7].copy_from_slice(CLASS_DATA_VERSION);
        file[8] = convention;
        file[18..20].copy_from_slice(&MACHINE_CUDA.to_le_bytes());
        file[40..48].copy_from_slice(&(sections_at as u64).to_le_bytes());
        file[if convention == 7 { 48 } else { 49 }] = sm;
        file[58] = SECTION_HEADER_BYTES as u8;
        file[60] = 3;
        let headers = [
            section(0, 0, 0),
            section(3, names_at, names.len()),
            section(SECTION_SYMBOLS, symbols_at, symbol.len()),
        ];
        [file, names, symbol, headers.concat()].concat()
    }

    #[test]
    fn architecture_and_functions_are_read_in_both_conventions() {
        for convention in [7, 8] {
            let cubin = Cubin::new(elf(convention, 90, "norm")).unwrap();
            assert_eq!((cubin.sm(), cubin.functions()), (90, ["norm".to_owned()].as_slice()));
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let whole = elf(8, 90, "norm");
        for end in 0..whole.len() {
            assert!(Cubin::new(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
        }
        let message = |at: usize, value: u8| {
            let mut bytes = whole.clone();
            bytes[at] = value;
            Cubin::new(bytes).unwrap_err().to_string()
        };
        assert_eq!(message(0, 0), "not machine code: no ELF file");
        assert_eq!(message(4, 1), "not machine code: no 64-bit little-endian ELF file");
        assert_eq!(message(18, 62), "not machine code: an ELF file for machine 62, expected 190");
        assert_eq!(message(8, 9), "not machine code: version 9 of CUDA's ELF convention, expected 7 or 8");
        assert_eq!(message(58, 63), "not machine code: a table with entries of 63 bytes, expected 64");
        assert!(message(47, 0xff).contains("missing"));
        // Whatever one byte is, there is an answer.
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = Cubin::new(bytes);
            }
        }
    }
}
