package paper

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// markdown writes a sheet as Markdown. Words of others are escaped, so that they make
// neither markup nor links.
func (s *sheet) markdown() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# %s\n\n**%s** · %s  \n%s\n", plain(s.Title), plain(s.Marking), plain(s.Lead), plain(s.Sources))
	if s.Headline != "" {
		fmt.Fprintf(&out, "\n**%s**\n", plain(s.Headline))
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(&out, "\n**%s**\n", plain(w))
	}
	for i := range s.Sections {
		s.Sections[i].markdown(&out)
	}
	if s.Sign != nil {
		fmt.Fprintf(&out, "\n---\n\n%s:\n\n%s: ____________________ %s: ____________________ %s: ____________________\n",
			plain(s.Sign.Assessment), plain(s.Sign.Name), plain(s.Sign.Place), plain(s.Sign.Signature))
	}
	return out.Bytes()
}

func (s *section) markdown(out *bytes.Buffer) {
	if s.Title != "" {
		fmt.Fprintf(out, "\n## %s\n", plain(s.Title))
	}
	if s.Note != "" {
		fmt.Fprintf(out, "\n%s\n", plain(s.Note))
	}
	if s.Plain != "" {
		fmt.Fprintf(out, "\n`%s`\n", s.Plain)
	}
	if len(s.Rows) > 0 {
		fmt.Fprintf(out, "\n|")
		for _, h := range s.Head {
			fmt.Fprintf(out, " %s |", plain(h))
		}
		fmt.Fprintf(out, "\n|%s\n", strings.Repeat(" --- |", len(s.Head)))
		for _, row := range s.Rows {
			fmt.Fprintf(out, "|")
			for _, c := range row {
				fmt.Fprintf(out, " %s |", c.markdown())
			}
			fmt.Fprintln(out)
		}
	}
	for i, n := range s.Names {
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "- %s%s\n", n.sign(), plain(n.Text))
	}
	for _, step := range append(s.Text, s.Steps...) {
		fmt.Fprintf(out, "\n%s\n", plain(step))
	}
	if s.More != "" {
		fmt.Fprintf(out, "\n*%s*\n", plain(s.More))
	}
}

func (c *cell) markdown() string {
	text := plain(c.Text)
	if c.Strong && text != "" {
		text = "**" + text + "**"
	}
	if c.ID != "" {
		text += " " + plain(c.ID)
	}
	if c.Small != "" {
		text = strings.TrimPrefix(text+" · ", " · ") + plain(c.Small)
	}
	return text
}

// sign of a state in text.
func (m *mark) sign() string {
	return map[string]string{"attack": "■ ", "down": "▨ ", "silent": "□ "}[m.State]
}

// What makes markup, a table or HTML, and what GitHub's reading makes links of.
var (
	markup = strings.NewReplacer("&", "&amp;", "<", "&lt;", `\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "{", `\{`, "}", `\}`,
		"[", `\[`, "]", `\]`, ">", `\>`, "#", `\#`, "|", `\|`, "~", `\~`, "@", `\@`, "!", `\!`, "://", `\://`)
	autolink = regexp.MustCompile(`(?i)\bwww\.`)
)

// plain makes a text that means nothing to a reader of Markdown.
func plain(s string) string {
	return autolink.ReplaceAllStringFunc(markup.Replace(s), func(www string) string { return www[:3] + `\.` })
}
