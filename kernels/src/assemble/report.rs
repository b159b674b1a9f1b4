//! What `ptxas -v` says of a kernel.

/// The figures of a kernel, and what ptxas had to say besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Registers of a thread.
    pub registers: u32,
    /// Shared memory that the kernel declares, in bytes.
    pub static_shared_bytes: u32,
    /// Local memory of a thread: its stack frames, in bytes.
    pub local_bytes: u32,
    /// Registers that did not fit, stored and loaded again, in bytes.
    pub spill_bytes: u32,
    /// Lines that say that products of warpgroups wait for each other.
    pub serialized: Vec<String>,
    /// Other warnings and advice.
    pub warnings: Vec<String>,
}

impl Report {
    /// Reads the standard error of `ptxas -v`. Of several functions, most registers and the sum of everything else.
    ///
    /// # Errors
    ///
    /// If a figure is missing, with its name.
    pub fn parse(said: &str) -> Result<Self, &'static str> {
        let mut report = Self::default();
        let (mut registers, mut frames) = (None, false);
        for line in said.lines() {
            let (head, text) = line.split_once(" : ").map_or(("", line), |(head, text)| (head.trim(), text));
            let text = text.trim();
            if text.contains("wgmma.mma_async instructions are serialized") {
                report.serialized.push(text.to_owned());
                continue;
            }
            // Advice has a number: `ptxas info    : (C7517) wgmma.wait_group is injected ..`.
            if head.ends_with("warning") || text.starts_with("(C") {
                report.warnings.push(text.to_owned());
                continue;
            }
            for part in text.split(',') {
                let part = part.trim();
                let Some((number, what)) = part.strip_prefix("Used ").unwrap_or(part).split_once(' ') else {
                    continue;
                };
                let Ok(number) = number.parse::<u32>() else { continue };
                match what {
                    "registers" => registers = registers.max(Some(number)),
                    "bytes smem" => report.static_shared_bytes += number,
                    "bytes lmem" => report.local_bytes += number,
                    "bytes stack frame" => {
                        frames = true;
                        report.local_bytes += number;
                    }
                    "bytes spill stores" | "bytes spill loads" => report.spill_bytes += number,
                    _ => {}
                }
            }
        }
        report.registers = registers.ok_or("registers")?;
        if !frames {
            return Err("bytes stack frame");
        }
        Ok(report)
    }

    /// What no kernel that ships may do, in words; empty if there is nothing.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.spill_bytes > 0 {
            faults.push(format!("{} bytes of registers are spilled, expected 0", self.spill_bytes));
        }
        if self.local_bytes > 0 {
            faults.push(format!("{} bytes of local memory, expected 0", self.local_bytes));
        }
        faults.extend(self.serialized.iter().cloned());
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'plain_k' for 'sm_80'
ptxas info    : Function properties for plain_k
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 512 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 2.093 ms
ptxas info    : Function properties for callee
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
";

    #[test]
    fn figures_are_read() {
        let expected = Report { registers: 10, static_shared_bytes: 512, ..Report::default() };
        assert_eq!(Report::parse(PLAIN), Ok(expected.clone()));
        assert_eq!(expected.faults(), Vec::<String>::new());
        // The last line of a kernel without static shared memory, of ptxas 12.
        let bare = PLAIN.replace(", 512 bytes smem, 360 bytes cmem[0]", ", 352 bytes cmem[0]");
        assert_eq!(Report::parse(&bare), Ok(Report { static_shared_bytes: 0, ..expected }));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Report::parse(""), Err("registers"));
        assert_eq!(Report::parse(&PLAIN.replace("Used 10", "Used ten")), Err("registers"));
        assert_eq!(Report::parse(&PLAIN.replace("stack frame", "frames")), Err("bytes stack frame"));
    }

    #[test]
    fn spills_are_faults() {
        let said = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spill_k' for 'sm_90a'
ptxas info    : Function properties for spill_k
    232 bytes stack frame, 228 bytes spill stores, 228 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 232 bytes cumulative stack size
";
        let report = Report::parse(said).unwrap();
        assert_eq!((report.registers, report.local_bytes, report.spill_bytes), (32, 232, 456));
        assert_eq!(
            report.faults(),
            ["456 bytes of registers are spilled, expected 0", "232 bytes of local memory, expected 0"]
        );
        // A function that is called counts too, and so does what older versions call lmem.
        let callee = PLAIN.replace("callee\n    0 bytes stack frame", "callee\n    8 bytes stack frame");
        assert_eq!(Report::parse(&callee).unwrap().faults(), ["8 bytes of local memory, expected 0"]);
        let lmem = PLAIN.replace("512 bytes smem", "16 bytes lmem");
        assert_eq!(Report::parse(&lmem).unwrap().faults(), ["16 bytes of local memory, expected 0"]);
    }

    #[test]
    fn serialised_products_are_faults_and_other_advice_is_not() {
        let serialized = "(C7511) Potential Performance Loss: wgmma.mma_async instructions are serialized due to \
            insufficient register resources for the wgmma pipeline in the function 'wg_k' in line 7";
        let injected = "(C7517) wgmma.wait_group is injected in around line 8 by compiler to allow use of registers \
            defined by GMMA in function 'wg_k'";
        let said = format!(
            "ptxas info    : {serialized}\nptxas info    : {injected}\nptxas k.ptx, line 3; warning : Old {{1 a, 2 b}}\n\
             {PLAIN}"
        );
        let report = Report::parse(&said).unwrap();
        assert_eq!(report.faults(), [serialized]);
        assert_eq!(report.warnings, [injected, "Old {1 a, 2 b}"]);
        assert_eq!(report.registers, 10);
    }
}
