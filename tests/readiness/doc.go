// Package readiness proves the readiness checks on a real machine: the lab's Debian guest, which starts anywhere, and copies of it that were
// spoiled as administrators and installers spoil theirs. What the findings say must be done is done, by hand and by the agent, and the copy
// must be ready again. The long forms: READINESS=long spoils and mends, READINESS=boot boots the copy before and after as well.
package readiness
