package capture

// bug is a rule of the design that a world's shells leave out.
type bug uint8

// The planted bugs.
const (
	none bug = iota
	noSeal
	sealOnlyThePreviousEpoch
	sealBehindTheLast
	unclearSealIsSealed
	resumeBeforeTheSeal
	otherIsSuccess
	durableFromTheCache
	readerIgnoresTheChain
	pendingIsOneBit
	pendingDroppedWhenUnclean
	pendingForgottenByASession
	cleanInsideACopy
	roundWithoutFreeze
	applierWithoutIntent
	bugs
)

// name says what is left out.
func (b bug) name() string {
	return [bugs]string{
		"nothing",
		"no epoch is sealed",
		"only the epoch just below is sealed",
		"the seal goes behind the last segment, not into the first hole",
		"a seal whose put timed out counts as set",
		"the writer begins before the seal is set",
		"a name taken by other bytes counts as durable",
		"durable is said when the segment is only cached",
		"a reader skips holes and broken links",
		"pending is one bit for each block, cleared by any durable write",
		"pending is dropped by an unclean durable end",
		"pending is not copied again in a new session",
		"a copy is called clean before it is complete",
		"a round is read while the machine writes",
		"the applier stores no intent",
	}[b]
}
