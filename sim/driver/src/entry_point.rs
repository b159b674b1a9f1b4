//! The functions by name, for programs that ask the driver rather than the loader.

use crate::boundary::{EntryPoint, Out, OutOrNull, Text};
use crate::error::Code;
use crate::{
    context, device, driver, error, event, function, graph, launch, memory, module, stream, tensor_map,
    unsupported,
};

/// `CU_GET_PROC_ADDRESS_SUCCESS`, and that there is no such function.
const FOUND: u32 = 0;
const NOT_FOUND: u32 = 1;

/// The function of a name in its latest version: programs ask for names without versions.
fn find(name: &str) -> Option<EntryPoint> {
    let lists = [
        context::FUNCTIONS,
        device::FUNCTIONS,
        driver::FUNCTIONS,
        error::FUNCTIONS,
        event::FUNCTIONS,
        function::FUNCTIONS,
        graph::FUNCTIONS,
        launch::FUNCTIONS,
        memory::FUNCTIONS,
        module::FUNCTIONS,
        stream::FUNCTIONS,
        tensor_map::FUNCTIONS,
        unsupported::FUNCTIONS,
        FUNCTIONS,
    ];
    let version = |known: &str| match known.strip_prefix(name)? {
        "" => Some(1),
        suffix => suffix.strip_prefix("_v")?.parse::<u32>().ok(),
    };
    let versions =
        lists.into_iter().flatten().filter_map(|(known, function)| Some((version(known)?, *function)));
    versions.max_by_key(|(version, _)| *version).map(|(_, function)| function)
}

driver_functions! {
    fn cuGetProcAddress(symbol: Text, function: Out<EntryPoint>, _version: i32, _flags: u64) {
        function.set(find(symbol.text()?).ok_or(Code::NotFound)?);
        Ok(())
    }

    fn cuGetProcAddress_v2(
        symbol: Text, function: Out<EntryPoint>, _version: i32, _flags: u64, status: OutOrNull<u32>,
    ) {
        let found = find(symbol.text()?);
        function.set(found.unwrap_or(EntryPoint(std::ptr::null())));
        status.set(if found.is_some() { FOUND } else { NOT_FOUND });
        found.map(drop).ok_or_else(|| Code::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_version_are_the_latest() {
        let address = |name: &str| find(name).map(|function| function.0);
        assert_eq!(address("cuMemAlloc"), address("cuMemAlloc_v2"));
        assert_eq!(address("cuGetProcAddress"), address("cuGetProcAddress_v2"));
        assert_ne!(address("cuEventElapsedTime_v2"), address("cuEventQuery"));
        assert!(address("cuMemAlloc").is_some() && address("cuCtxCreate").is_some());
        assert!(address("cuMem").is_none() && address("").is_none());
    }
}
