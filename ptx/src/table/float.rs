//! Floating-point classification and elementary functions (PTX ISA 9.7.3, 9.7.4).

section! {
    /// Floating-point functions of one number, and what looks at its bits.
    Float, ExecFloat;

    /// Whether `a` is of a class.
    testp = Testp "testp" "9.7.3.1" {
        "testp.op.type p=pred, a:type \
         | op = finite infinite number notanumber normal subnormal; type = f32 f64" since "2.0 sm_20";
    }

    /// `b` with the sign of `a`.
    copysign = Copysign "copysign" "9.7.3.2" {
        "copysign.type d=type, a:type, b:type | type = f32 f64" since "2.0 sm_20";
    }

    /// `d = 1 / a`
    rcp = Rcp "rcp" "9.7.3.13, 9.7.3.14" {
        "rcp.approx{.ftz}.f32 d=f32, a:f32" since "1.4 sm_10";
        "rcp.rnd{.ftz}.f32 d=f32, a:f32" since "2.0 sm_20";
        "rcp.rnd.f64 d=f64, a:f64" since "2.0 sm_20";
        "rcp.approx.ftz.f64 d=f64, a:f64" since "2.1 sm_20";
    }

    /// `d` is the square root of `a`.
    sqrt = Sqrt "sqrt" "9.7.3.15" {
        "sqrt.approx{.ftz}.f32 d=f32, a:f32" since "1.4 sm_10";
        "sqrt.rnd{.ftz}.f32 d=f32, a:f32" since "2.0 sm_20";
        "sqrt.rnd.f64 d=f64, a:f64" since "2.0 sm_20";
    }

    /// `d` is 1 over the square root of `a`.
    rsqrt = Rsqrt "rsqrt" "9.7.3.16, 9.7.3.17" {
        "rsqrt.approx{.ftz}.f32 d=f32, a:f32" since "1.4 sm_10";
        "rsqrt.approx.f64 d=f64, a:f64" since "1.4 sm_13";
        "rsqrt.approx.ftz.f64 d=f64, a:f64" since "4.0 sm_20";
    }

    /// The sine of `a` radians.
    sin = Sin "sin" "9.7.3.18" {
        "sin.approx{.ftz}.f32 d=f32, a:f32" since "1.4 sm_10";
    }

    /// The cosine of `a` radians.
    cos = Cos "cos" "9.7.3.19" {
        "cos.approx{.ftz}.f32 d=f32, a:f32" since "1.4 sm_10";
    }

    /// The logarithm of `a` to base 2.
    lg2 = Lg2 "lg2" "9.7.3.20" {
        "lg2.approx{.ftz}.f32 d=f32, a:f32" since "1.4 sm_10";
    }

    /// 2 to the power `a`.
    ex2 = Ex2 "ex2" "9.7.3.21, 9.7.4.10" {
        "ex2.approx{.ftz}.f32 d=f32, a:f32" since "1.4 sm_10";
        "ex2.approx.type d=type, a:type | type = f16 f16x2" since "7.0 sm_75";
        "ex2.approx.ftz.type d=type, a:type | type = bf16 bf16x2" since "7.8 sm_90";
    }

    /// The hyperbolic tangent of `a`.
    tanh = Tanh "tanh" "9.7.3.22, 9.7.4.9" {
        "tanh.approx.f32 d=f32, a:f32" since "7.0 sm_75";
        "tanh.approx.type d=type, a:type | type = f16 f16x2" since "7.0 sm_75";
        "tanh.approx.type d=type, a:type | type = bf16 bf16x2" since "7.8 sm_90";
    }
}
