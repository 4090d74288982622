# Reads `go test -v` and prints what a person wants to see: a line for each package, every skip with its reason, all that a
# failed package said, and at the end how many tests passed, failed and were skipped.
{ said = said $0 "\n" }
/^--- PASS/ { passed++ }
/^--- FAIL/ { failed++ }
/^ *--- SKIP/ { skipped++; print before; print }
/^ok / || /\[no test files\]$/ { if (/^ok /) print; said = "" }
/^FAIL\t/ { printf "%s", said; said = ""; broken++ }
{ before = $0; fflush() }
END {
	if (said != "" && broken == 0 && passed == 0) printf "%s", said # it did not even build
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
}
