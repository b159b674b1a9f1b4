//! The codes of errors, and what is said with them.

use crate::boundary::Out;
use rorqual_sim::memory::MemoryError;
use rorqual_sim::{DeviceError, Report, Rule};
use std::ffi::{CStr, c_char};

macro_rules! codes {
    ($($variant:ident $number:literal $name:literal $text:literal;)*) => {
        /// `CUresult`: the codes that this driver gives.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Code { $($variant = $number,)* }

        /// Name and text of a code; none of one that is never given.
        const fn describe(code: u32) -> Option<(&'static CStr, &'static CStr)> {
            Some(match code {
                0 => (c"CUDA_SUCCESS", c"no error"),
                $($number => ($name, $text),)*
                _ => return None,
            })
        }
    };
}

codes! {
    InvalidValue 1 c"CUDA_ERROR_INVALID_VALUE" c"invalid argument";
    OutOfMemory 2 c"CUDA_ERROR_OUT_OF_MEMORY" c"out of memory";
    NotInitialized 3 c"CUDA_ERROR_NOT_INITIALIZED" c"initialization error";
    InvalidDevice 101 c"CUDA_ERROR_INVALID_DEVICE" c"invalid device ordinal";
    NoDevice 100 c"CUDA_ERROR_NO_DEVICE" c"no CUDA-capable device is detected";
    InvalidContext 201 c"CUDA_ERROR_INVALID_CONTEXT" c"invalid device context";
    NoBinaryForGpu 209 c"CUDA_ERROR_NO_BINARY_FOR_GPU" c"no kernel image is available for execution on the device";
    UnsupportedLimit 215 c"CUDA_ERROR_UNSUPPORTED_LIMIT" c"limit is not supported on this architecture";
    PeerAccessUnsupported 217 c"CUDA_ERROR_PEER_ACCESS_UNSUPPORTED" c"peer access is not supported between these two devices";
    InvalidPtx 218 c"CUDA_ERROR_INVALID_PTX" c"a PTX JIT compilation failed";
    FileNotFound 301 c"CUDA_ERROR_FILE_NOT_FOUND" c"file not found";
    InvalidHandle 400 c"CUDA_ERROR_INVALID_HANDLE" c"invalid resource handle";
    IllegalState 401 c"CUDA_ERROR_ILLEGAL_STATE" c"the operation cannot be performed in the present state";
    NotFound 500 c"CUDA_ERROR_NOT_FOUND" c"named symbol not found";
    IllegalAddress 700 c"CUDA_ERROR_ILLEGAL_ADDRESS" c"an illegal memory access was encountered";
    LaunchOutOfResources 701 c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES" c"too many resources requested for launch";
    LaunchTimeout 702 c"CUDA_ERROR_LAUNCH_TIMEOUT" c"the launch timed out and was terminated";
    PeerAccessAlreadyEnabled 704 c"CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED" c"peer access is already enabled";
    PeerAccessNotEnabled 705 c"CUDA_ERROR_PEER_ACCESS_NOT_ENABLED" c"peer access has not been enabled";
    ContextIsDestroyed 709 c"CUDA_ERROR_CONTEXT_IS_DESTROYED" c"context is destroyed";
    HostMemoryAlreadyRegistered 712 c"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"
        c"part or all of the requested memory range is already mapped";
    HostMemoryNotRegistered 713 c"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"
        c"pointer does not correspond to a registered memory region";
    IllegalInstruction 715 c"CUDA_ERROR_ILLEGAL_INSTRUCTION" c"an illegal instruction was encountered";
    MisalignedAddress 716 c"CUDA_ERROR_MISALIGNED_ADDRESS" c"misaligned address";
    InvalidPc 718 c"CUDA_ERROR_INVALID_PC" c"invalid program counter";
    LaunchFailed 719 c"CUDA_ERROR_LAUNCH_FAILED" c"unspecified launch failure";
    CooperativeLaunchTooLarge 720 c"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"
        c"too many blocks in cooperative launch";
    NotPermitted 800 c"CUDA_ERROR_NOT_PERMITTED" c"operation not permitted";
    NotSupported 801 c"CUDA_ERROR_NOT_SUPPORTED" c"operation not supported";
    CaptureUnsupported 900 c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" c"operation not permitted when stream is capturing";
    CaptureInvalidated 901 c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
        c"operation failed due to a previous error during capture";
    CaptureMerge 902 c"CUDA_ERROR_STREAM_CAPTURE_MERGE"
        c"operation would result in a merge of separate capture sequences";
    CaptureUnmatched 903 c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"
        c"the capture was not initiated in this stream";
    CaptureUnjoined 904 c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED"
        c"capturing stream has unjoined work";
    CaptureIsolation 905 c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION"
        c"dependency created on uncaptured work in another stream";
    CaptureImplicit 906 c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"
        c"operation would make the legacy stream depend on a capturing blocking stream";
    CapturedEvent 907 c"CUDA_ERROR_CAPTURED_EVENT" c"operation not permitted on an event last recorded in a capturing stream";
    GraphExecUpdateFailure 910 c"CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE"
        c"the graph update was not performed because it included changes which violated constraints specific to instantiated graph update";
    InvalidClusterSize 912 c"CUDA_ERROR_INVALID_CLUSTER_SIZE" c"invalid cluster size";
    Unknown 999 c"CUDA_ERROR_UNKNOWN" c"unknown error";
}

/// A code, with a sentence where the code alone would leave a user at a loss.
#[derive(Debug)]
pub struct Error {
    pub code: Code,
    pub message: Option<String>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self { code, message: None }
    }
}

impl Code {
    /// The error with a sentence.
    pub fn because(self, message: impl Into<String>) -> Error {
        Error { code: self, message: Some(message.into()) }
    }
}

impl From<MemoryError> for Error {
    fn from(error: MemoryError) -> Self {
        if error.is_limit() {
            return Code::OutOfMemory.into();
        }
        Code::InvalidValue.because(error.to_string())
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        let code = match error {
            DeviceError::Memory(error) => return error.into(),
            DeviceError::Parse(_) | DeviceError::Verify(_) | DeviceError::Load(_) => Code::InvalidPtx,
            DeviceError::Target { .. } => Code::NoBinaryForGpu,
            DeviceError::Kernel { .. } => Code::NotFound,
            DeviceError::Ordinal { .. } => Code::InvalidDevice,
            DeviceError::Architecture(_)
            | DeviceError::ArgumentCount { .. }
            | DeviceError::ArgumentSize { .. }
            | DeviceError::Shape { .. }
            | DeviceError::Trace { .. } => Code::InvalidValue,
        };
        code.because(error.to_string())
    }
}

/// What a GPU would say of a kernel that breaks a rule, or the nearest that it can say.
pub fn code_of(report: &Report) -> Code {
    match report.rule {
        Rule::Bounds | Rule::RemoteShared => Code::IllegalAddress,
        Rule::Alignment => Code::MisalignedAddress,
        Rule::Deadlock | Rule::InstructionBudget => Code::LaunchTimeout,
        Rule::MemoryBudget => Code::LaunchOutOfResources,
        Rule::Unsupported => Code::NotSupported,
        Rule::Call => Code::InvalidPc,
        Rule::Trap
        | Rule::Launch
        | Rule::Uninitialized
        | Rule::UninitializedOutput
        | Rule::DivisionByZero
        | Rule::ExitInFlight
        | Rule::InFlight
        | Rule::Race => Code::LaunchFailed,
        Rule::Convergence
        | Rule::Barrier
        | Rule::ClusterBarrier
        | Rule::Mbarrier
        | Rule::TensorMap
        | Rule::Descriptor
        | Rule::RegisterPool
        | Rule::AsyncCopy
        | Rule::Operand => Code::IllegalInstruction,
    }
}

/// A text that is never freed.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct StaticText(*const c_char);

impl StaticText {
    const NONE: Self = Self(std::ptr::null());
}

impl From<&'static CStr> for StaticText {
    fn from(text: &'static CStr) -> Self {
        Self(text.as_ptr())
    }
}

driver_functions! {
    fn cuGetErrorName[6000](code: u32, name: Out<StaticText>) {
        name.set(describe(code).map_or(StaticText::NONE, |(name, _)| name.into()));
        describe(code).map(drop).ok_or_else(|| Code::InvalidValue.into())
    }

    fn cuGetErrorString[6000](code: u32, text: Out<StaticText>) {
        text.set(describe(code).map_or(StaticText::NONE, |(_, text)| text.into()));
        describe(code).map(drop).ok_or_else(|| Code::InvalidValue.into())
    }
}
