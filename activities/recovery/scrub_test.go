package recovery

import (
	"testing"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
)

func TestAScrubIsAJobOfTheApplierThatIsTakenBackWhenItHasEnded(t *testing.T) {
	s := newSite(t)
	in := activities.ScrubIn{Run: activities.NewRun(activities.VerifyRun, web, "op-1")}
	_, err := do(s, activities.Scrub, in)
	wantFault(t, err, "FS-7009")

	s.board.keepReplica()
	out, err := do(s, activities.Scrub, in)
	if err != nil || out.Machine != web || out.Segments != 7 || out.Compared != 4096 || out.Found() != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	f := out.Findings[0]
	if f.Kind != "journal" || f.Disk != "d0" || f.Offset != 512 || f.Bytes != 1024 || len(f.Lost) != 1 || f.Lost[0] != (farshore.Position{Generation: 1, Epoch: 1, Seq: 2}) {
		t.Errorf("finding %+v", f)
	}
	if done := s.board.done; len(done) != 1 || done[0] != scrubJob(in.Run.ID) || len(s.board.jobs()) != 0 {
		t.Errorf("jobs done %v, left %v", done, s.board.jobs())
	}

	s.board.fail = &farshorev1.Fault{Code: "FS-3512", Kind: "refused", Subject: "machine", What: "nothing there"}
	_, err = do(s, activities.Scrub, in)
	wantFault(t, err, "FS-3512")
	if len(s.board.jobs()) != 0 {
		t.Errorf("a job that failed is left: %v", s.board.jobs())
	}
}
