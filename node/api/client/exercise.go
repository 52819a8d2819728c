package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/watchward/watchward/node/api"
)

const exercisePath = "/v1/exercise"

// StartExercise begins an exercise that runs for so long at most.
func (c *Client) StartExercise(ctx context.Context, name string, life time.Duration) (out api.ExerciseView, err error) {
	err = c.call(ctx, http.MethodPost, exercisePath, nil, nil, api.ExerciseRequest{Name: name, For: life.String()}, &out)
	return out, err
}

// StopExercise ends the exercise that runs and returns what came of it.
func (c *Client) StopExercise(ctx context.Context) (out api.AfterAction, err error) {
	err = c.call(ctx, http.MethodDelete, exercisePath, nil, nil, nil, &out)
	return out, err
}

// Exercises returns the exercise that runs, and all that are kept.
func (c *Client) Exercises(ctx context.Context) (out api.ExerciseAnswer, err error) {
	err = c.call(ctx, http.MethodGet, exercisePath, nil, nil, nil, &out)
	return out, err
}

// Exercise returns what came of one, by its number; "last" is the last.
func (c *Client) Exercise(ctx context.Context, number string) (out api.AfterAction, err error) {
	err = c.call(ctx, http.MethodGet, exercisePath+"/"+url.PathEscape(number), nil, nil, nil, &out)
	return out, err
}
