# Sums up what tests/flips prints: make flips.
/FLIPS / {
	sub(/.*FLIPS /, "")
	kind = ""
	for (i = 1; $(i + 1) != "bytes"; i++) kind = kind (i > 1 ? " " : "") $i
	if (!(kind in bits)) order[++kinds] = kind
	bits[kind] += $(i + 2); reported[kind] += $(i + 5); unnoticed[kind] += $(i + 7); vague[kind] += $(i + 9); wrong[kind] += $(i + 11)
}
/^(FAIL|--- FAIL|panic)/ { print; failed = 1 }
END {
	line = "%-30s %10s %10s %10s %8s %12s\n"
	printf line, "kind", "flipped", "reported", "unnoticed", "vague", "wrong bytes"
	for (i = 1; i <= kinds; i++) {
		k = order[i]
		printf line, k, bits[k], reported[k], unnoticed[k], vague[k], wrong[k]
		b += bits[k]; r += reported[k]; u += unnoticed[k]; v += vague[k]; w += wrong[k]
	}
	printf line, "all", b, r, u, v, w
	exit failed
}
