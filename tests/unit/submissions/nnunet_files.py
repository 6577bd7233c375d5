"""The files nnU-Net v2 leaves after a training, for a tiny network."""

from __future__ import annotations

LINEAR = {"is_seg": False, "order": 1, "order_z": 1, "force_separate_z": False}


def dataset_json() -> dict:
    """Three labels, one channel."""
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "one": 1, "two": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


def plain_unet(
    features: list[int],
    *,
    convs: list[int],
    convs_decoder: list[int],
    kernels: list[list[int]] | None = None,
    strides: list[list[int]] | None = None,
) -> dict:
    """The architecture of a PlainConvUNet; kernels of 3 and strides of 2 where none are given."""
    stages = len(features)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": features,
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": kernels or [[3, 3, 3]] * stages,
            "strides": strides or [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
            "n_conv_per_stage": convs,
            "n_conv_per_stage_decoder": convs_decoder,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plans_json() -> dict:
    """Plans as nnU-Net 2.3 and later write them; resampling is linear."""
    return {
        "dataset_name": "Dataset001_tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 2.0, 2.0],
        "original_median_shape_after_transp": [16, 16, 16],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {
                "max": 600.0,
                "min": -300.0,
                "mean": 40.0,
                "median": 40.0,
                "std": 60.0,
                "percentile_00_5": -200.0,
                "percentile_99_5": 300.0,
            }
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [16, 16, 16],
                "median_image_size_in_voxels": [16.0, 16.0, 16.0],
                "spacing": [3.0, 2.0, 2.0],
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": LINEAR,
                "resampling_fn_seg_kwargs": {**LINEAR, "is_seg": True},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": LINEAR,
                "batch_dice": True,
                "architecture": plain_unet([4, 8], convs=[2, 2], convs_decoder=[2]),
            }
        },
    }


def plans_json_v20() -> dict:
    """The same model as nnU-Net 2.0 to 2.2 wrote it."""
    plans = plans_json()
    settings = plans["configurations"]["3d_fullres"]
    del settings["architecture"]
    settings.update(
        UNet_class_name="PlainConvUNet",
        UNet_base_num_features=4,
        unet_max_num_features=320,
        n_conv_per_stage_encoder=[2, 2],
        n_conv_per_stage_decoder=[2],
        num_pool_per_axis=[1, 1, 1],
        pool_op_kernel_sizes=[[1, 1, 1], [2, 2, 2]],
        conv_kernel_sizes=[[3, 3, 3], [3, 3, 3]],
    )
    return plans
