package notice

import "strings"

// profile stands for whatever user's directory a Windows path was found in.
const profile = "%USERPROFILE%"

// variables are what the start of a Windows path may say instead of a place,
// in lower case. Those that differ from user to user end up under profile.
var variables = [...]struct{ from, to string }{
	{"%userprofile%", profile}, {"%homedrive%%homepath%", profile}, {"%homepath%", profile},
	{"$env:userprofile", profile},
	{"%appdata%", profile + `\appdata\roaming`}, {"$env:appdata", profile + `\appdata\roaming`},
	{"%localappdata%", profile + `\appdata\local`}, {"$env:localappdata", profile + `\appdata\local`},
	{"%temp%", profile + `\appdata\local\temp`}, {"%tmp%", profile + `\appdata\local\temp`},
	{"$env:temp", profile + `\appdata\local\temp`}, {"$env:tmp", profile + `\appdata\local\temp`},
	{"%windir%", `c:\windows`}, {"%systemroot%", `c:\windows`}, {"$env:windir", `c:\windows`},
	{"%programdata%", `c:\programdata`}, {"%allusersprofile%", `c:\programdata`}, {"$env:programdata", `c:\programdata`},
	{"%programfiles%", `c:\program files`}, {"%programfiles(x86)%", `c:\program files (x86)`},
	{"%commonprogramfiles%", `c:\program files\common files`},
	{"%public%", `c:\users\public`}, {"$env:public", `c:\users\public`}, {"%systemdrive%", "c:"},
}

// canonicalPath returns a file name, or a path in lower case in which no user's
// name is left: C:\Users\anna\x is %USERPROFILE%\x, /home/anna/x is ~/x. Known
// variables are spelled out, so that %APPDATA%\x and C:\Users\anna\AppData\Roaming\x
// are one thing. Windows paths get backslashes, doubled ones become single.
func canonicalPath(s string, o Options) (string, error) {
	v := strings.Trim(lower(s), `"`)
	if strings.TrimSpace(v) != v || v == "" {
		return "", valueErrorf("write the name without quotes and space around it", "%s is not a file name", show(s))
	}
	drive := len(v) > 2 && v[1] == ':' && v[0] >= 'a' && v[0] <= 'z' && (v[2] == '/' || v[2] == '\\')
	var err error
	if drive || v[0] == '%' || strings.HasPrefix(v, "$env:") || strings.Contains(v, `\`) {
		v, err = windowsPath(v, s, o)
	} else {
		v = posixPath(v)
	}
	if err != nil {
		return "", err
	}
	if v == "" { // a prefix such as \\?\ and nothing behind it
		return "", valueErrorf("name the file in it", "%s is not a file name", show(s))
	}
	if end := v[len(v)-1]; end == '\\' || end == '/' || end == ':' || v == "." || v == ".." || v == "~" || v == profile {
		return "", valueErrorf("name the file in it", "%s is a directory", show(s))
	}
	return v, nil
}

// windowsPath takes v in lower case, s as written.
func windowsPath(v, s string, o Options) (string, error) {
	if strings.Contains(v, " /") { // a space and a switch: no name on Windows has a slash
		return "", valueErrorf("give the path of the program alone", "%s is a command line", show(s))
	}
	v = strings.ReplaceAll(v, "/", `\`)
	pipe := strings.HasPrefix(v, `\\.\pipe\`)
	v = strings.TrimPrefix(v, `\\?\`)
	if strings.HasPrefix(v, `\\`) && !pipe && !o.AllowSpecial {
		return "", valueErrorf("give the path after the share, or "+allowFix, "%s names a computer of a network", show(s))
	}
	head := ""
	if strings.HasPrefix(v, `\\`) {
		head, v = `\`, v[1:]
	}
	for strings.Contains(v, `\\`) { // as C source and JSON write it
		v = strings.ReplaceAll(v, `\\`, `\`)
	}
	if head != "" {
		return head + v, nil
	}
	for _, variable := range variables {
		if rest, ok := strings.CutPrefix(v, variable.from); ok && (rest == "" || rest[0] == '\\') {
			v = variable.to + rest
			break
		}
	}
	v = hideUser(v)
	if strings.ContainsAny(v, `<>"|?*`) || strings.LastIndexByte(v, ':') > 1 {
		return "", valueErrorf("give one file, without wildcards or arguments", "%s is not the path of a file", show(s))
	}
	return v, nil
}

// hideUser replaces the user's directory at the start of a Windows path.
func hideUser(v string) string {
	for _, users := range [...]string{`\users\`, `\documents and settings\`} {
		at := strings.Index(v, users)
		if at < 0 || at != 0 && (at != 2 || v[1] != ':') && !strings.HasPrefix(v, `\device\`) {
			continue
		}
		user, rest, _ := strings.Cut(v[at+len(users):], `\`)
		switch user {
		case "", "public", "default", "all users", "default user":
			return v
		}
		if rest == "" {
			return profile
		}
		return profile + `\` + rest
	}
	return v
}

// posixPath takes v in lower case: a bare name, or a path of Unix or macOS.
func posixPath(v string) string {
	for strings.Contains(v, "//") {
		v = strings.ReplaceAll(v, "//", "/")
	}
	for _, home := range [...]string{"/home/", "/users/", "/var/home/", "~", "$home/", "${home}/"} {
		rest, ok := strings.CutPrefix(v, home)
		if !ok || strings.HasPrefix(rest, "shared/") && home == "/users/" {
			continue
		}
		if home[0] != '$' {
			user, after, deeper := strings.Cut(rest, "/")
			if home == "~" && !deeper && user != "" {
				return v // "~lock", a file of that name
			}
			rest = after
		}
		if rest == "" {
			return "~"
		}
		return "~/" + rest
	}
	return v
}

// hives are the roots of the registry and their other names, in lower case.
var hives = [...]struct{ from, to string }{
	{"hklm", "HKEY_LOCAL_MACHINE"}, {"hkcu", "HKEY_CURRENT_USER"}, {"hkcr", "HKEY_CLASSES_ROOT"},
	{"hku", "HKEY_USERS"}, {"hkcc", "HKEY_CURRENT_CONFIG"},
	{"hkey_local_machine", "HKEY_LOCAL_MACHINE"}, {"hkey_current_user", "HKEY_CURRENT_USER"},
	{"hkey_classes_root", "HKEY_CLASSES_ROOT"}, {"hkey_users", "HKEY_USERS"}, {"hkey_current_config", "HKEY_CURRENT_CONFIG"},
	{`\registry\machine`, "HKEY_LOCAL_MACHINE"}, {`\registry\user`, "HKEY_USERS"},
}

// cutHive splits a registry key, already in lower case, after its root.
func cutHive(v string) (hive, rest string, ok bool) {
	v = strings.TrimPrefix(v, `computer\`)
	for _, h := range hives {
		after, found := strings.CutPrefix(v, h.from)
		if !found {
			continue
		}
		after = strings.TrimPrefix(after, ":") // PowerShell's HKLM:\
		if rest, ok = strings.CutPrefix(after, `\`); ok {
			return h.to, rest, true
		}
	}
	return "", "", false
}

// canonicalRegistryKey returns the full name of the root, in upper case, and
// the path in lower case. A user's own hive (HKEY_USERS\S-1-5-21-…) is
// HKEY_CURRENT_USER; elsewhere a user's SID becomes %SID%. The numbered control
// sets are what CurrentControlSet points to.
func canonicalRegistryKey(s string) (string, error) {
	v := strings.Trim(lower(s), `"`)
	for strings.Contains(v, `\\`) {
		v = strings.ReplaceAll(v, `\\`, `\`)
	}
	hive, rest, ok := cutHive(v)
	rest = strings.Trim(rest, `\`)
	if !ok || rest == "" || strings.TrimSpace(rest) != rest {
		return "", valueErrorf(`write it like HKLM\Software\Evil`, "%s is not a registry key", show(s))
	}
	parts := strings.Split(rest, `\`)
	if hive == "HKEY_USERS" && len(parts) > 1 {
		if sid, classes := strings.CutSuffix(parts[0], "_classes"); userSID(sid) {
			hive, parts = "HKEY_CURRENT_USER", parts[1:]
			if classes {
				parts = append([]string{"software", "classes"}, parts...)
			}
		}
	}
	for i, part := range parts {
		if userSID(part) || part == "%sid%" {
			parts[i] = "%SID%"
		}
	}
	if hive == "HKEY_LOCAL_MACHINE" && len(parts) > 1 && parts[0] == "system" {
		if number, ok := strings.CutPrefix(parts[1], "controlset"); ok && len(number) == 3 && digits(number) {
			parts[1] = "currentcontrolset"
		}
	}
	return hive + `\` + strings.Join(parts, `\`), nil
}

// userSID reports whether part is the security identifier of an account of a
// domain or a machine: it names a person.
func userSID(part string) bool {
	rest, ok := strings.CutPrefix(part, "s-1-5-21-")
	return ok && strings.Trim(rest, "0123456789-") == ""
}
