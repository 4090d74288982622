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
	sealStoppedByAConflict
	takeOverFromTheEnd
	unclearClaimIsWon
	otherIsSuccess
	durableFromTheCache
	throughIsTheLastReceived
	sessionSurvivesARestart
	sessionSurvivesAndNobodyCounts
	cachedIsSealedAnew
	sentBehindALostOne
	copiesLeaveAnEndClean
	oneDiskSpeaksForAll
	readerIgnoresTheChain
	pendingIsOneBit
	pendingDroppedWhenUnclean
	pendingForgottenByASession
	acknowledgementOfAnotherSession
	placeInTheLogByLSNAlone
	cleanInsideACopy
	nothingIsRedone
	partOfARedoStays
	lostOrderIsNotCopied
	recordedFromBehindTheExchange
	roundWithoutFreeze
	applierWithoutIntent
	sealsAreCollected
	indexOfAHoleIsBelieved
	heirIsIgnored
	heirReplaysItsImage
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
		"a writer whose seal meets a conflict stops for good",
		"a take-over begins at the end of what stands, where a seal may be in front",
		"a claim whose put timed out counts as won",
		"a name taken by other bytes counts as durable",
		"durable is said when the segment is only cached",
		"durable names the last message received, not the last in the segment",
		"a session survives its server's restart",
		"a session survives its server's restart, and nobody compares LSNs",
		"cached segments are sealed anew in the next epoch, whatever they hold",
		"what is cached behind a lost segment is put into the vault",
		"a segment that holds copies keeps the clean flag of the one in front",
		"one disk that is clean makes the others clean",
		"a reader skips holes and broken links",
		"pending is one bit for each block, cleared by any durable write",
		"pending is dropped by an unclean durable end",
		"pending is not copied again in a new session",
		"an acknowledgement of another session is believed",
		"the log's place in the stream is known by an LSN alone, also behind copies",
		"a copy is called clean before it is complete",
		"what was recorded during a copy is not sent behind it",
		"a part of a redo stays in front of the point when order is lost in the middle of it",
		"order is lost, and what the log still held is not copied",
		"writes are recorded only from behind the exchange of the bitmap",
		"a round is read while the machine writes",
		"the applier stores no intent",
		"seals are collected with the segments of their epoch",
		"an index holds what stands behind a hole, and is believed",
		"a stream that was released to an heir goes to whoever claims it first",
		"an heir goes on with the log that an image of its predecessor holds, and owes nothing",
	}[b]
}
