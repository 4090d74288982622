package agent

import (
	"farshore"
	"farshore/dataplane/block"
)

// BeforeRead has do called between the first look at the tracker and each read of a comparison. It is set before the agent runs.
func (a *Agent) BeforeRead(do func(farshore.DiskID, block.Extent)) { a.beforeRead = do }
