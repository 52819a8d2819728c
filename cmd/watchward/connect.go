package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api/client"
)

// connect returns a client for the node that the flags name.
func connect(cmd *cobra.Command) (*client.Client, error) {
	flag := func(name string) string {
		value, _ := cmd.Flags().GetString(name)
		return value
	}
	dir, url, tokenFile := flag("dir"), flag("api"), flag("token-file")
	switch {
	case url != "":
		if tokenFile == "" {
			return nil, usage("--api needs --token-file: make a token with watchward token create on the node's machine")
		}
		token, err := client.ReadToken(tokenFile)
		if err != nil {
			return nil, err
		}
		c, err := client.New(client.Config{URL: url, Token: token})
		if err != nil {
			return nil, usage("%w", err)
		}
		return c, nil
	case tokenFile != "":
		return nil, usage("--token-file goes with --api")
	case dir == "":
		return nil, usage("which node? Say --dir DIRECTORY (or set WATCHWARD_DIR), or --api URL --token-file FILE")
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, usage("%s: there is no such directory", dir)
	}
	return client.Open(dir)
}

// asking makes a command that asks a node.
func asking(do func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if err = do(cmd, c, args); err != nil && cmd.Context().Err() != nil {
			return stopped(cmd) // whatever broke off, it was not the node
		}
		return err
	}
}

// stopped ends a command that a person stopped.
func stopped(cmd *cobra.Command) error {
	dry, _ := cmd.Flags().GetBool("dry-run")
	text := "Stopped."
	switch {
	case cmd.Name() == "import" && dry:
		text = "Stopped: nothing was stored."
	case cmd.Name() == "import":
		text = "Stopped: what was taken stays; give the same command again and it goes on."
	case cmd.Name() == "retract":
		text = "Stopped: what was taken back stays so; give the same command again and it goes on."
	case cmd.Name() == "export":
		text = "Stopped: of what it was writing no file is left; what is there is whole."
	}
	return &failure{code: client.ExitNo, err: errors.New(text)}
}

// needDir returns --dir for commands that work on files.
func needDir(cmd *cobra.Command) (string, error) {
	dir, _ := cmd.Flags().GetString("dir")
	if dir == "" {
		return "", usage("which node? Say --dir DIRECTORY (or set WATCHWARD_DIR)")
	}
	return dir, nil
}
