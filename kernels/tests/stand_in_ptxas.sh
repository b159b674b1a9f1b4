#!/bin/sh
# Stands in for ptxas: does what comments of the text that it gets say.
#   // say WORDS    on standard error
#   // copy FILE    as the machine code
#   // exit STATUS  otherwise 0
# Called as: -v -arch=TARGET -o CODE TEXT, in the directory of both, where the file `runs` counts the calls.
if [ "$1" = --version ]; then
    echo "ptxas: a stand-in"
    echo "Cuda compilation tools, release 12.3, V12.3.45"
    exit
fi
echo "$2" >>runs
sed -n 's|^// say ||p' "$5" >&2
file=$(sed -n 's|^// copy ||p' "$5")
[ -z "$file" ] || cp "$file" "$4"
status=$(sed -n 's|^// exit ||p' "$5")
exit "${status:-0}"
