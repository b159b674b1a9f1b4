#!/usr/bin/env bash
# Every check, cheapest first. Needs cargo with rustfmt and clippy, nothing else. RORQUAL_PTXAS, the path of ptxas, adds
# the tests of machine code; with RORQUAL_NVDISASM, the path of nvdisasm, loops on Hopper are counted too.
# A step prints its name and time; its output is shown only if it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() {
    local name=$1 start=$SECONDS
    shift
    printf '%-42s' "$name"
    if "$@" >"$log" 2>&1; then
        printf 'ok  %4d s\n' $((SECONDS - start))
    else
        printf 'FAILED after %d s: %s\n' $((SECONDS - start)) "$*"
        cat "$log"
        exit 1
    fi
}

# Feature `aot` runs ptxas in the build. Its code is checked where there is none, too: `none` leaves the machine code out.
without_ptxas=(env RORQUAL_PTXAS=none)

step "format" cargo fmt --all --check
step "clippy, all features" \
    "${without_ptxas[@]}" cargo clippy --locked --quiet --workspace --all-targets --all-features -- -D warnings
step "clippy, no features" \
    cargo clippy --locked --quiet --package rorqual --no-default-features -- -D warnings
for feature in $(sed -n '/^\[features\]/,/^\[[^f]/s/^\([a-z][a-z0-9_-]*\) *=.*/\1/p' Cargo.toml); do
    [ "$feature" = default ] && continue
    step "clippy, feature $feature alone" \
        "${without_ptxas[@]}" cargo clippy --locked --quiet --package rorqual --no-default-features \
        --features "$feature" -- -D warnings
done
step "tests" cargo test --locked --workspace
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
# What the tests built as a dynamic library stands in for a driver.
library=${CARGO_TARGET_DIR:-$PWD/target}/debug/deps/libptxsim_driver.so
for arch in sm_80 sm_90a; do
    step "CUDA backend over the simulator, $arch" \
        env RORQUAL_CUDA_DRIVER_LIBRARY="$library" PTXSIM_ARCH="$arch" \
        cargo test --locked --workspace --test driver
done
if [ "${RORQUAL_PTXAS:-none}" != none ]; then
    step "machine code of the catalog" cargo test --locked --package rorqual --features aot --test catalog machine_code
else
    echo "machine code: not tested, RORQUAL_PTXAS names no ptxas"
fi
step "documentation" \
    "${without_ptxas[@]}" RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --workspace --no-deps --all-features
