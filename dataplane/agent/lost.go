package agent

import "farshore"

// lost finds out whether the vault still holds what it once said to be durable. It does not if it was put back from an
// older copy, if a seed was carried before its end, or if a process server acknowledged what it did not store. What was
// forgotten since then is not known: all disks are owed again, and the session begins anew, so that the sink can offer
// hashes of what it does hold.
func (s *sending) lost() error {
	last := s.run.LastPoint
	if s.opened.NewGeneration || last.Position.Generation != s.opened.Generation {
		return nil
	}
	if s.opened.Epoch > last.Position.Epoch && s.opened.ResumeLSN >= last.LSN && s.opened.Last.Compare(last.Position) >= 0 {
		return nil
	}
	for _, source := range s.sources {
		source.owe()
		source.run.Fresh = false
		s.copies(source, "the vault no longer holds point "+last.Position.String()+", which was durable in it", true)
	}
	s.run.LastPoint = farshore.RecoveryPoint{}
	if err := s.save(); err != nil {
		return err
	}
	return errAfresh
}
