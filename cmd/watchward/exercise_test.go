package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
)

// TestTerminalSpeaksEnglish, whatever language a node's reports have.
func TestTerminalSpeaksEnglish(t *testing.T) {
	shown := func(language string) string {
		var out strings.Builder
		cmd := &cobra.Command{}
		cmd.SetOut(&out)
		cmd.Flags().Bool("json", false, "")
		if err := showAfterAction(cmd, api.AfterAction{Language: language, Members: []api.ExerciseMember{{Party: api.Party{Name: "St Anna"}, Asked: 2}}, More: 3}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if en, de := shown("en"), shown("de"); de != en || !strings.Contains(en, "1 member gave no sign.") {
		t.Errorf("%s\n%s", en, de)
	}
}
