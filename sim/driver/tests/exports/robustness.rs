//! Every function of the table with nothing but zeros: an error or a success, never the end of the program.

use super::*;

/// Where zeros are right: nothing is taken, or null is the null stream or context, memory that need not be freed, nothing
/// to copy or to look at, or the first device.
const ZEROS_ARE_RIGHT: &[&str] = &[
    "cuProfilerStart",
    "cuProfilerStop",
    "cuDevicePrimaryCtxSetFlags_v2",
    "cuCtxSetFlags",
    "cuCtxSetLimit",
    "cuCtxSetCacheConfig",
    "cuCtxSetSharedMemConfig",
    "cuCtxResetPersistingL2Cache",
    "cuCtxGetStreamPriorityRange",
    "cuCtxSynchronize",
    "cuCtxSynchronize_v2",
    "cuMemFree_v2",
    "cuMemFreeAsync",
    "cuMemcpyHtoD_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoD_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpy",
    "cuMemcpyAsync",
    "cuMemsetD8_v2",
    "cuMemsetD8Async",
    "cuMemsetD16_v2",
    "cuMemsetD16Async",
    "cuMemsetD32_v2",
    "cuMemsetD32Async",
    "cuMemsetD2D8_v2",
    "cuMemsetD2D8Async",
    "cuMemsetD2D16_v2",
    "cuMemsetD2D16Async",
    "cuMemsetD2D32_v2",
    "cuMemsetD2D32Async",
    "cuStreamSynchronize",
    "cuStreamQuery",
    "cuStreamGetCtx_v2",
];

/// The names in the documentation, which the table makes.
fn names() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/driver.md");
    page.split('`')
        .filter(|name| name.starts_with("cu") && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect()
}

#[test]
fn zeros_end_no_program() {
    if !is_alone("robustness::zeros_end_no_program", &[], "") {
        return;
    }
    let names = names();
    assert!(names.len() > 500, "{}", names.len());
    let leaves_context = |name: &str| {
        ["cuCtxSetCurrent", "cuCtxPopCurrent_v2"].contains(&name) || name.starts_with("cuDevicePrimaryCtxRe")
    };
    let call_all = || {
        let tried = names.iter().copied().filter(|name| *name != "cuInit" && !leaves_context(name));
        tried.filter(|name| call_with_zeros(name) == SUCCESS).collect::<Vec<_>>()
    };
    assert_eq!(call_all(), Vec::<&str>::new(), "before initialisation");
    context();
    let succeeded = call_all();
    assert_eq!(succeeded, ZEROS_ARE_RIGHT);
    done!(cuCtxSynchronize());
}
