//! Control flow and what steers a kernel (PTX ISA 9.7.14, 9.7.15.14, 9.7.21).

use super::form::literal_is;

section! {
    /// Instructions that decide what runs next.
    Control, ExecControl;

    /// Jumps to a label.
    bra = Bra "bra" "9.7.14.3" {
        "bra{.uni} target:label" since "1.0 sm_10";
    }

    /// Jumps to a label of a `.branchtargets` list, by index.
    brx_idx = BrxIdx "brx.idx" "9.7.14.4" {
        "brx.idx{.uni} index:u32, targets:label" since "6.0 sm_30";
    }

    /// Calls a function, directly, or by its address with the list of what it may be or its prototype.
    call = Call "call" "9.7.14.5" {
        "call{.uni} results=arguments, f:function, parameters:arguments, targets:label@" since "2.1 sm_20";
        "call{.uni} results=arguments, f:function, parameters:arguments" since "1.0 sm_10";
        "call{.uni} results=arguments, f:function, targets:label@" since "2.1 sm_20";
        "call{.uni} results=arguments, f:function" since "1.0 sm_10";
        "call{.uni} f:function, parameters:arguments, targets:label@" since "2.1 sm_20";
        "call{.uni} f:function, parameters:arguments" since "1.0 sm_10";
        "call{.uni} f:function, targets:label@" since "2.1 sm_20";
        "call{.uni} f:function" since "1.0 sm_10";
    }

    /// Returns from a function, or ends the thread of a kernel.
    ret = Ret "ret" "9.7.14.6" {
        "ret{.uni}" since "1.0 sm_10";
    }

    /// Ends the thread.
    exit = Exit "exit" "9.7.14.7" {
        "exit" since "1.0 sm_10";
    }

    /// Tells kernels that depend on this one to start, or waits for those that this one depends on.
    griddepcontrol = Griddepcontrol "griddepcontrol" "9.7.15.14" {
        "griddepcontrol.action | action = launch_dependents wait" since "7.8 sm_90";
    }

    /// Stops in the debugger.
    brkpt = Brkpt "brkpt" "9.7.21.1" {
        "brkpt" since "1.0 sm_11";
    }

    /// Sleeps for about `t` nanoseconds, at most a millisecond.
    nanosleep = Nanosleep "nanosleep" "9.7.21.2" {
        "nanosleep.u32 t:u32" since "6.3 sm_70";
    }

    /// Triggers performance monitor events: one by its number, or several by a mask.
    pmevent = Pmevent "pmevent" "9.7.21.3" {
        "pmevent a:imm(0..15)" since "1.4 sm_10";
        "pmevent.mask a:imm(0..65535)" since "3.0 sm_20";
    }

    /// Aborts the kernel with an interrupt to the host.
    trap = Trap "trap" "9.7.21.4" {
        "trap" since "1.0 sm_10";
    }

    /// Releases registers of the warp, or waits for more.
    setmaxnreg = Setmaxnreg "setmaxnreg" "9.7.21.5" {
        "setmaxnreg.action.sync.aligned.u32 imm-reg-count:imm(24..256) \
         | action = inc dec" since "8.0 sm_90a sm_100f sm_110f sm_120f"
            where "the number of registers is a multiple of 8"
                |i| literal_is(i, "imm-reg-count", |count| count % 8 == 0);
    }
}
